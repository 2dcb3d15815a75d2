import { expect } from "chai";
import { lockDaysUnder, Policies, readStoredPolicy } from "../../controller/policies.ts";
import { Repository } from "../../controller/repository.ts";
import { SkepError } from "../../shared/errors.ts";
import { layout } from "../../shared/repository/layout.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";
import { withVersions, type VersionedStore } from "../shared/store/versioned.ts";

describe("the policy in the store", () => {
  let place: Place;

  before(async () => {
    place = await makePlace();
  });
  after(async () => {
    await place.remove();
  });

  it("is read by a standalone run as the controller put it", async () => {
    const repository = await Repository.open(place.store, place.made.controllerKey);
    expect(await readStoredPolicy(repository.catalogue, {})).to.be.null;
    const policies = new Policies(repository);
    await policies.load("policy: { version: 1, retention: { daily: 7 } }", Date.now());
    const found = await readStoredPolicy(repository.catalogue, {});
    expect(found?.version).to.equal(1);
    expect(found?.policy).to.deep.equal(policies.require().policy);
    expect(found?.policy.retention).to.deep.equal({ daily: 7 });
  });

  describe("where something was put over the newest", () => {
    const seed = "policy: { version: 1, retention: { daily: 3 } }";
    let home: Place;
    let kept: VersionedStore;
    beforeEach(async () => {
      home = await makePlace();
      kept = withVersions(home.store);
      const policies = await start();
      await policies.put("{ version: 1, retention: { daily: 30, lockDays: 8 } }", Date.now());
      await kept.store.put(layout.policy(2), Buffer.from("not ours"));
    });
    afterEach(() => home.remove());
    async function start(text = seed): Promise<Policies> {
      const policies = new Policies(await Repository.open(kept.store, home.made.controllerKey));
      await policies.load(text, Date.now());
      return policies;
    }

    it("is read from its first version", async () => {
      const policies = await start();
      expect([policies.inForce?.version, policies.inForce?.policy.retention.daily]).to.deep.equal([2, 30]);
      expect(policies.doubt).to.be.null;
      expect((await (await start()).version(2)).retention.daily).to.equal(30);
    });

    it("is not taken for proven without that, also after a restart, until somebody sets one", async () => {
      kept.expire(layout.policy(2));
      for (const text of [seed, seed, seed.replace("3", "4"), seed.replace("3", "4")]) {
        const policies = await start(text);
        expect(policies.doubt?.code, text).to.equal("SKEP_POLICY_UNPROVEN");
        const codes: string[] = [];
        const onDoubt = ({ code }: SkepError): unknown => codes.push(code);
        const repository = await Repository.open(kept.store, home.made.controllerKey);
        await readStoredPolicy(repository.catalogue, { onFault: () => undefined, onDoubt });
        expect(codes).to.deep.equal(["SKEP_POLICY_UNPROVEN"]);
      }
      const policies = await start();
      await policies.put("{ version: 1, retention: { daily: 30 } }", Date.now());
      expect(policies.doubt).to.be.null;
      expect((await start()).doubt).to.be.null;
    });

    it("gives up no locks", () => {
      const doubt = new SkepError({ code: "SKEP_POLICY_UNPROVEN", message: "policy/2", permanent: true });
      expect(lockDaysUnder(null, null, { lockDays: 8 })).to.be.null;
      expect(lockDaysUnder(null, doubt, { lockDays: 8 })).to.equal(8);
      expect(lockDaysUnder(30, doubt, { lockDays: 8 })).to.equal(30);
      expect(lockDaysUnder(null, doubt, null)).to.be.null;
    });
  });
});
