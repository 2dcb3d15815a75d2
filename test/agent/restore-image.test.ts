import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import type { AgentContext } from "../../agent/context.ts";
import type { Docker } from "../../agent/docker.ts";
import { restoreImage } from "../../agent/restore-image.ts";
import { SkepError } from "../../shared/errors.ts";
import { imageFile } from "../../shared/repository/image-file.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { expectCode } from "../shared/repository/expect-code.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";
import { backUpRun, makeNode } from "../shared/repository/upkeep/repository-of-runs.ts";

const id = `sha256:${"12".repeat(32)}`;
const [low, high] = [`sha256:${"aa".repeat(32)}`, `sha256:${"bb".repeat(32)}`];

/** An engine with an image of these layers; which contents were loaded, and what it says of each. */
class Engine {
  readonly loaded: Buffer[] = [];
  readonly layers: string[];
  readonly driverStatus: string[][];
  readonly refuses: (content: Buffer) => boolean;

  constructor(layers: string[], refuses: (content: Buffer) => boolean = () => false, driverStatus: string[][] = []) {
    this.layers = layers;
    this.refuses = refuses;
    this.driverStatus = driverStatus;
  }

  get docker(): Docker {
    const image = (of: string): object => ({ Id: of, RootFS: { Layers: this.layers } });
    return {
      info: () => Promise.resolve({ DriverStatus: this.driverStatus }),
      images: () => Promise.resolve([{ Id: "other" }]),
      image: (name: string) => Promise.resolve(name === id && this.loaded.length === 0 ? null : image(name)),
      loadImage: async (content: AsyncIterable<Uint8Array>) => {
        const whole = await buffer(content);
        this.loaded.push(whole);
        if (!this.refuses(whole)) return [id];
        throw new SkepError({ code: "SKEP_DOCKER_FAILED", message: "open layer: no such file", permanent: false });
      },
    } as unknown as Docker;
  }
}

describe("an image that an agent gives back", () => {
  let place: Place;
  let tar: Buffer;
  const contents = { [`blobs/${low}`]: randomBytes(3_000_000), [`blobs/${high}`]: randomBytes(50_000) };
  beforeEach(async () => {
    place = await makePlace();
    const image = pack();
    const whole = buffer(image);
    for (const [name, content] of Object.entries(contents)) image.entry({ name }, content);
    image.entry({ name: "config" }, JSON.stringify({ rootfs: { diff_ids: [low, high] } }));
    image.entry({ name: "manifest.json" }, JSON.stringify([{ Config: "config", Layers: Object.keys(contents) }]));
    image.finalize();
    tar = await whole;
  });
  afterEach(async () => {
    await place.remove();
  });

  async function bring(engine: Engine, name: string = imageFile): Promise<number[]> {
    const node = makeNode(place, "node1");
    writeFileSync(join(node.source, name), tar);
    const run = await backUpRun(place, node);
    const { manifest, refs } = run.parts.find(({ kind }) => kind === "volume") ?? {};
    if (manifest === undefined || refs === undefined) return expect.fail("no content");
    const operator = await openAsOperator(place.store, place.made.identityFile);
    const part = { name: "an image", nodeId: "node1", epoch: 1, manifest, refs };
    const keys = await collectRestoreKeys(place.store, operator, part);
    const { repositoryId } = operator.repositoryObject;
    const context = { docker: engine.docker, store: place.store, repositoryId } as unknown as AgentContext;
    const image = { id, names: [], digests: [], architecture: "amd64", os: "linux" };
    const what = { image, manifest, refs, writerId: "node1", sourceBytes: tar.length };
    const done: number[] = [];
    const { signal } = new AbortController();
    const onProgress = ({ doneBytes }: { doneBytes: number }): void => {
      done.push(doneBytes);
    };
    const attempt = { jobId: "job", number: 1, signal, onProgress };
    expect(await restoreImage({ kind: "restore-image", ...what }, context, keys, attempt)).to.include({ id });
    return done;
  }

  it("comes whole where the engine has none of its layers, or keeps images where it needs all", async () => {
    for (const engine of [new Engine([high]), new Engine([low], undefined, [["driver-type", "snapshotter"]])]) {
      await bring(engine);
      expect(engine.loaded.map((content) => content.equals(tar))).to.deep.equal([true]);
    }
  });

  it("comes without the layer that the engine has, which counts as done", async () => {
    const engine = new Engine([low, "another"]);
    const done = await bring(engine);
    expect(engine.loaded).to.have.length(1);
    const left = 512 + Math.ceil(3_000_000 / 512) * 512;
    expect(engine.loaded[0]?.equals(tar.subarray(left))).to.equal(true);
    expect(Math.min(...done)).to.be.greaterThan(left);
    expect(done.at(-1)).to.equal(tar.length);
  });

  it("comes whole after all where the engine no longer has that layer", async () => {
    const engine = new Engine([low], (content) => content.length < tar.length);
    await bring(engine);
    expect(engine.loaded.map(({ length }) => length === tar.length)).to.deep.equal([false, true]);
  });

  it("is refused where the snapshot is one of something else", async () => {
    const engine = new Engine([]);
    await expectCode("SKEP_RESTORE_IMAGE", () => bring(engine, "database"));
    expect(engine.loaded).to.have.length(0);
  });
});
