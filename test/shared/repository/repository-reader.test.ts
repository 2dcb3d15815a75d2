import { expect } from "chai";
import type { SkepError } from "../../../shared/errors.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import { ForeignObjects, maxNamedForeign } from "../../../shared/repository/foreign.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { findRepository } from "../../../shared/repository/repository-reader.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import type { Store } from "../../../shared/store/store.ts";
import { storeOf } from "../store/held-objects.ts";
import { beginning } from "./empty-run.ts";
import { expectCode } from "./expect-code.ts";

describe("the repository object below hundreds of foreign ones", () => {
  const many = 5 * maxNamedForeign + 7;
  let store: Store;
  let made: CreatedRepository;
  beforeEach(async () => {
    store = storeOf(new Map());
    made = await createRepository({ store, operatorName: "anna", now: beginning });
    for (let number = 2; number < 2 + many; number++) {
      await store.put(layout.repository(number), Buffer.from("put by somebody who may only put"));
    }
  });

  it("counts; each of them is told once, from the highest on, and their faults are not all kept", async () => {
    const keys: string[] = [];
    const faults = new Set<SkepError>();
    const foreign = new ForeignObjects();
    const onForeign = (fault: SkepError, key: string): void => {
      keys.push(key);
      faults.add(fault);
      foreign.add(fault, key);
    };
    const { object, above, nextVersion } = await findRepository(store, made.identityFile.rootPublicKey, { onForeign });
    expect([object.version, nextVersion, above?.key]).to.deep.equal([1, many + 2, layout.repository(2)]);
    expect(above?.fault.message).to.contain(layout.repository(2));
    expect(keys).to.deep.equal(Array.from({ length: many }, (_, at) => layout.repository(many + 1 - at)));
    expect(faults.size).to.be.within(maxNamedForeign + 1, 2 * maxNamedForeign);
    expect(foreign.leftOut).to.equal(many - maxNamedForeign);
    for (const { key, fault } of foreign) expect(fault.message).to.contain(key);
  });

  it("is not reached by who would pass over none of them", async () => {
    const error = await expectCode("SKEP_REPOSITORY_INVALID", () =>
      findRepository(store, made.identityFile.rootPublicKey),
    );
    expect(error.message).to.contain(layout.repository(many + 1));
  });

  it("is none of them where no object at all is signed: the highest one's fault is thrown", async () => {
    const { publicKey } = generateSigningKeyPair();
    const error = await expectCode("SKEP_REPOSITORY_INVALID", () =>
      findRepository(store, publicKey, { onForeign: () => undefined }),
    );
    expect(error.message).to.contain(layout.repository(many + 1));
  });
});
