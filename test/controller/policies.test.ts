import { expect } from "chai";
import { Policies, readStoredPolicy } from "../../controller/policies.ts";
import { Repository } from "../../controller/repository.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";

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
    expect(await readStoredPolicy(repository.catalogue)).to.be.null;
    const policies = new Policies(repository);
    await policies.load("policy: { version: 1, retention: { daily: 7 } }", Date.now());
    const found = await readStoredPolicy(repository.catalogue);
    expect(found?.version).to.equal(1);
    expect(found?.policy).to.deep.equal(policies.require().policy);
    expect(found?.policy.retention).to.deep.equal({ daily: 7 });
  });
});
