import { expect } from "chai";
import fc from "fast-check";

import {
  comparable,
  fromPortable,
  referencesOf,
  toPortable,
  type ServiceSpec,
} from "../../../controller/objects/portable.ts";

const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/);
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const attachments = fc.array(fc.record({ Target: name, Aliases: fc.array(name, { maxLength: 2 }) }), { maxLength: 3 });

/** In the portable form. */
const spec = fc.record({
  Name: name,
  Networks: optional(attachments),
  TaskTemplate: fc.record({
    Networks: optional(attachments),
    ContainerSpec: optional(
      fc.record({
        Image: name,
        Secrets: optional(fc.array(fc.record({ SecretName: name, File: fc.constant(null) }), { maxLength: 3 })),
        Configs: optional(fc.array(fc.record({ ConfigName: name, Runtime: fc.constant({}) }), { maxLength: 3 })),
        Privileges: optional(fc.record({ CredentialSpec: fc.record({ Config: name, File: fc.constant("") }) })),
      }),
    ),
  }),
  Mode: fc.constant({ Global: {} }),
}) as fc.Arbitrary<ServiceSpec>;

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const idOf = (kind: string, named: string): string => `id-${kind}-${named}`;
const nameOf = (kind: string, id: string): string => {
  expect(id).to.match(new RegExp(`^id-${kind}-`));
  return id.slice(`id-${kind}-`.length);
};

describe("portable service specs", () => {
  it("come back the same from any swarm's ids", () => {
    fc.assert(
      fc.property(spec, (portable) => {
        expect(plain(toPortable(fromPortable(portable, idOf), nameOf))).to.deep.equal(plain(portable));
      }),
    );
  });

  it("leave no name unbound: every reference of the form is asked for its id", () => {
    fc.assert(
      fc.property(spec, (portable) => {
        const asked = new Set<string>();
        fromPortable(portable, (kind, named) => {
          asked.add(`${kind} ${named}`);
          return "id";
        });
        expect([...asked]).to.have.members(referencesOf(portable).map((one) => `${one.kind} ${one.name}`));
      }),
    );
  });

  it("compare without null, empty lists and empty labels, and keep a mode's empty object", () => {
    const written = {
      Labels: {},
      Privileges: null,
      Env: [],
      Mode: { Global: {} },
      Init: false,
      Nested: { Labels: null },
    };
    expect(comparable(written)).to.deep.equal({ Mode: { Global: {} }, Init: false, Nested: {} });
    const shown = { Privileges: { CredentialSpec: null, SELinuxContext: null, NoNewPrivileges: false } };
    expect(comparable(shown)).to.deep.equal(comparable({ Privileges: { CredentialSpec: null, SELinuxContext: null } }));
    expect(comparable({ NoNewPrivileges: true })).to.deep.equal({ NoNewPrivileges: true });
  });
});
