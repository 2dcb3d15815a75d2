import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { Enrolment } from "../../agent/enrolment.ts";
import type { NodeIdentity } from "../../agent/node-identity.ts";
import type { EnrolmentAnswer } from "../../shared/contract/queues.ts";
import { encryptAge } from "../../shared/repository/age.ts";
import { createRepository, type CreatedRepository } from "../../shared/repository/create.ts";
import { deriveWriterKey } from "../../shared/repository/keys.ts";
import { encodeRepositoryObject, type RepositoryObject } from "../../shared/repository/repository-object.ts";
import { signHandover } from "../../shared/repository/root-handover.ts";
import { generateSigningKeyPair, signedSchema, signPayload } from "../../shared/repository/signature.ts";
import { createStore } from "../../shared/store/open.ts";

const node: NodeIdentity = { nodeId: "node1id", hostname: "node1", role: "worker", engineVersion: "26" };

describe("the enrolment of an agent", () => {
  let folder: string;
  let made: CreatedRepository;
  let stateDir: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-enrol-"));
    const store = await createStore({ url: `file://${folder}/store` }, null);
    made = await createRepository({ store, operatorName: "anna", now: Date.now() });
    stateDir = mkdtempSync(join(folder, "state-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  const open = (as: NodeIdentity = node, { rootPublicKey } = made.identityFile): Promise<Enrolment> =>
    Enrolment.open({ stateDir, node: as, repositoryId: made.repositoryObject.repositoryId, rootPublicKey });

  /** What an honest controller answers, but for what is changed. */
  async function answer(
    request: { recipient: string; nodeId: string },
    change: { object?: Partial<RepositoryObject>; signingKey?: string; rootKey?: string; nodeId?: string } = {},
  ): Promise<EnrolmentAnswer> {
    const object = { ...made.repositoryObject, ...change.object };
    const signed = encodeRepositoryObject(object, change.rootKey ?? made.identityFile.rootPrivateKey);
    const repositoryKey = Buffer.from(made.controllerKey.repositoryKey, "base64");
    const writerKey = deriveWriterKey(repositoryKey, object.repositoryId, request.nodeId);
    const grant = {
      nodeId: change.nodeId ?? request.nodeId,
      recipient: request.recipient,
      sealedWriterKey: Buffer.from(await encryptAge(writerKey, [request.recipient])).toString("base64"),
      issuedAt: new Date().toISOString(),
    };
    return {
      repository: signedSchema.parse(JSON.parse(Buffer.from(signed).toString("utf8"))),
      grant: signPayload("skep/v1 job", JSON.stringify(grant), change.signingKey ?? made.controllerKey.signingKey),
    };
  }

  async function refusal(enrolment: Enrolment, given: unknown): Promise<unknown> {
    return enrolment.accept(given).then(
      () => null,
      (error: unknown) => error,
    );
  }

  it("gets the writer key that belongs to this node, and keeps it over a restart without the controller", async () => {
    const enrolment = await open();
    expect(enrolment.enrolled).to.equal(null);
    const { writerKey } = await enrolment.accept(await answer(enrolment.request()));
    const expected = deriveWriterKey(
      Buffer.from(made.controllerKey.repositoryKey, "base64"),
      made.repositoryObject.repositoryId,
      node.nodeId,
    );
    expect(Buffer.from(writerKey).equals(expected)).to.be.true;
    const again = await open();
    expect(again.request().recipient).to.equal(enrolment.request().recipient);
    expect(Buffer.from(again.enrolled?.writerKey ?? []).equals(expected)).to.be.true;
  });

  it("keeps its key for its owner alone, and the writer key nowhere in clear", async () => {
    const enrolment = await open();
    const { writerKey } = await enrolment.accept(await answer(enrolment.request()));
    expect(statSync(join(stateDir, "agent.key")).mode & 0o777).to.equal(0o600);
    const saved = readFileSync(join(stateDir, "enrolment.json"));
    const key = Buffer.from(writerKey);
    for (const form of [key, key.toString("base64"), key.toString("hex")]) expect(saved.includes(form)).to.be.false;
  });

  it("refuses an answer that another key signed", async () => {
    const enrolment = await open();
    const other = generateSigningKeyPair().privateKey;
    const request = enrolment.request();
    expect(await refusal(enrolment, await answer(request, { rootKey: other }))).to.include({
      code: "SKEP_SIGNATURE_INVALID",
    });
    expect(await refusal(enrolment, await answer(request, { signingKey: other }))).to.include({
      code: "SKEP_SIGNATURE_INVALID",
    });
    expect(enrolment.enrolled).to.equal(null);
  });

  it("refuses a grant for another node, another recipient, another repository, a revoked controller", async () => {
    const enrolment = await open();
    const request = enrolment.request();
    const others: EnrolmentAnswer[] = [
      await answer(request, { nodeId: "node2id" }),
      await answer({ ...request, recipient: made.identityFile.recipient }),
      await answer(request, { object: { repositoryId: randomBytes(16).toString("hex") } }),
      await answer(request, { object: { revokedControllerKeys: [made.repositoryObject.controllerPublicKey] } }),
    ];
    for (const given of [...others, { nonsense: true }, null]) {
      expect(await refusal(enrolment, given)).to.include({ code: "SKEP_ENROLMENT_INVALID", permanent: true });
    }
  });

  it("refuses an older repository object than it has seen, also after a restart", async () => {
    const first = await open();
    await first.accept(await answer(first.request(), { object: { version: 3, incarnation: 2 } }));
    for (const enrolment of [first, await open()]) {
      for (const object of [
        { version: 2, incarnation: 2 },
        { version: 4, incarnation: 1 },
      ]) {
        expect(await refusal(enrolment, await answer(enrolment.request(), { object }))).to.include({
          code: "SKEP_REPOSITORY_ROLLED_BACK",
        });
      }
      expect(enrolment.enrolled?.repository.version).to.equal(3);
    }
  });

  it("follows the root key to its heir, and goes back to the former one neither now nor after a restart", async () => {
    const [former, heir] = [made.identityFile, generateSigningKeyPair()];
    const { repositoryId } = made.repositoryObject;
    const handover = { repositoryId, from: former.rootPublicKey, to: heir.publicKey, firstVersion: 2 };
    const rootHandovers = [signHandover(handover, former.rootPrivateKey)];
    const handedOver = { version: 2, rootPublicKey: heir.publicKey, rootHandovers };
    const first = await open();
    await first.accept(await answer(first.request()));
    await first.accept(await answer(first.request(), { object: handedOver, rootKey: heir.privateKey }));
    for (const enrolment of [first, await open()]) {
      expect(enrolment.enrolled?.repository).to.include({ version: 2, rootPublicKey: heir.publicKey });
      for (const object of [{ version: 3 }, { ...handedOver, version: 3 }]) {
        const forged = await answer(enrolment.request(), { object, rootKey: former.rootPrivateKey });
        expect(await refusal(enrolment, forged)).to.include({ code: "SKEP_SIGNATURE_INVALID" });
      }
    }
  });

  it("believes a later root key in skep.yaml more than what it kept of before, and asks again", async () => {
    const first = await open();
    await first.accept(await answer(first.request()));
    const heir = generateSigningKeyPair();
    const later = await open(node, { ...made.identityFile, rootPublicKey: heir.publicKey });
    expect(later.enrolled).to.equal(null);
    expect(await refusal(later, await answer(later.request(), { object: { version: 2 } }))).to.include({
      code: "SKEP_SIGNATURE_INVALID",
    });
    const object = { version: 2, rootPublicKey: heir.publicKey };
    await later.accept(await answer(later.request(), { object, rootKey: heir.privateKey }));
    expect(later.enrolled?.repository.version).to.equal(2);
  });

  it("begins anew where the state folder came from another node", async () => {
    const first = await open();
    await first.accept(await answer(first.request()));
    expect((await open({ ...node, nodeId: "node2id" })).enrolled).to.equal(null);
  });
});
