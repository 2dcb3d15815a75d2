import { expect } from "chai";
import type { RemoteMachine } from "../../../controller/recovery/remote-machine.ts";
import { mappedSpec, sameSpec, writeSpec } from "../../../controller/recovery/release-steps.ts";
import { fromErrorRecord } from "../../../shared/errors.ts";

describe("the spec that a service is released with", () => {
  it("has the name of an image that was loaded, its node's new id, and nothing else that is new", () => {
    const spec = {
      Name: "web",
      TaskTemplate: {
        ContainerSpec: { Image: "web:1@sha256:aa", Env: ["A=b"] },
        Placement: { Constraints: ["node.id==x"] },
      },
    };
    const images = new Map([["web:1@sha256:aa", "web:1-skep-aa"]]);
    const mapped = mappedSpec(spec, { ids: new Map([["x", "y"]]), hostnames: new Map(), images });
    expect(mapped).to.deep.equal({
      Name: "web",
      TaskTemplate: {
        ContainerSpec: { Image: "web:1-skep-aa", Env: ["A=b"] },
        Placement: { Constraints: ["node.id==y"] },
      },
    });
    expect(spec.TaskTemplate.ContainerSpec.Image).to.equal("web:1@sha256:aa");
  });

  it("takes an empty list or object for none when specs are compared, and nothing else", () => {
    expect(sameSpec({ a: 1, b: [], c: {} }, { a: 1, d: null })).to.be.true;
    expect(sameSpec({ a: [1, 2] }, { a: [2, 1] })).to.be.false;
    expect(sameSpec({ a: 0 }, {})).to.be.false;
    expect(sameSpec({ Init: false }, {})).to.be.false;
  });

  it("is the same where a newer engine shows what an older one does not know", () => {
    const of = (Privileges: object): object => ({ TaskTemplate: { ContainerSpec: { Privileges } } });
    const copied = of({ CredentialSpec: null, SELinuxContext: null });
    expect(sameSpec(of({ CredentialSpec: null, SELinuxContext: null, NoNewPrivileges: false }), copied)).to.be.true;
    expect(sameSpec(of({ NoNewPrivileges: true }), copied)).to.be.false;
  });

  it("is written twice, and not for ever, to an engine that shows it with a field of its own", async () => {
    const wanted = { Name: "web", Mode: { Replicated: { Replicas: 2 } }, TaskTemplate: {} };
    const service = new ShowingMore({ ...wanted, Mode: { Replicated: { Replicas: 0 } } });
    await writeSpec(service, "id", wanted, new AbortController().signal);
    expect(service.written).to.deep.equal([wanted, wanted]);
    expect(service.previous).to.deep.include(wanted);
    // Another's update in between is written over.
    const contested = new ShowingMore({ ...wanted, Mode: { Replicated: { Replicas: 0 } } });
    contested.conflictAt = 2;
    await writeSpec(contested, "id", wanted, new AbortController().signal);
    expect(contested.written).to.deep.equal([wanted, wanted]);
    expect(contested.spec).to.deep.include(wanted);
    expect(contested.previous).to.deep.include(wanted);
  });

  it("is written once to a job, which each update runs anew", async () => {
    for (const Mode of [{ ReplicatedJob: { TotalCompletions: 1 } }, { GlobalJob: {} }]) {
      const wanted = { Name: "migrate", Mode, TaskTemplate: {} };
      const held = { ...wanted, TaskTemplate: { Placement: { Constraints: ["node.id==held-by-skep"] } } };
      const service = new ShowingMore(held);
      await writeSpec(service, "id", wanted, new AbortController().signal);
      expect(service.written).to.deep.equal([wanted]);
    }
  });
});

type Spec = Record<string, unknown>;

/** A service as an engine has it that adds a field to each spec. */
class ShowingMore implements Pick<RemoteMachine, "engine" | "askEngine"> {
  readonly written: Spec[] = [];
  /** The POST, from 1, before which somebody else wrote. */
  conflictAt = 0;
  spec: Spec;
  previous: Spec | null = null;
  #posts = 0;

  constructor(spec: Spec) {
    this.spec = { ...spec, Newer: "yes" };
  }

  engine: RemoteMachine["engine"] = (schema) =>
    Promise.resolve(schema.parse({ Version: { Index: this.#posts }, Spec: this.spec, PreviousSpec: this.previous }));

  askEngine: RemoteMachine["askEngine"] = ({ body }) => {
    this.#posts++;
    if (this.#posts === this.conflictAt) {
      this.#take({ ...this.spec, Labels: { by: "another" } });
      const record = { code: "SKEP_DOCKER_CONFLICT", message: "update out of sequence", permanent: false } as const;
      return Promise.reject(fromErrorRecord(record));
    }
    this.written.push(body as Spec);
    this.#take(body as Spec);
    return Promise.resolve(null);
  };

  #take(spec: Spec): void {
    this.previous = this.spec;
    this.spec = { ...spec, Newer: "yes" };
  }
}
