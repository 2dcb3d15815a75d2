import { expect } from "chai";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Repository } from "../../controller/repository.ts";
import { layout } from "../../shared/repository/layout.ts";
import { decodeRepositoryObject } from "../../shared/repository/repository-object.ts";
import { expectCode } from "../shared/repository/expect-code.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";

describe("the repository as the controller holds it", () => {
  let place: Place;
  before(async () => {
    place = await makePlace();
  });
  after(() => place.remove());

  it("hands agents the repository object that it has proven, and nothing that somebody put in its place since", async () => {
    const repository = await Repository.open(place.store, place.made.controllerKey);
    const { rootPublicKey } = place.made.identityFile;
    for (const text of ["a text", "{}"]) {
      writeFileSync(join(place.storePath, layout.repository(1)), text);
      const handed = Buffer.from(JSON.stringify(repository.signedObject));
      expect(decodeRepositoryObject(handed, rootPublicKey, "handed")).to.deep.equal(place.made.repositoryObject);
      await expectCode("SKEP_REPOSITORY_INVALID", () => repository.refresh());
    }
  });
});
