// Images for the lab's nodes, for which no registry is asked. Three kinds: a base image packed from programs of this machine
// with the libraries that they load, an image built from a Dockerfile by an engine of the lab, and a whole Debian.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdtemp, realpath, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type Dockerode from "dockerode";
import { pack, type Pack } from "tar-stream";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { command, tryCommand } from "./command.ts";
import { ensureRootfs, type RootfsRecipe } from "./rootfs.ts";

export interface BaseImage {
  kind: "base";
  /** As `docker run` takes it: "skep-lab/node:24". */
  tag: string;
  /** Absolute path in the image → program of this machine. The libraries that it loads come along. */
  programs: Readonly<Record<string, string>>;
  /** Instructions of those that `docker import --change` takes. */
  changes: readonly string[];
}

export interface BuiltImage {
  kind: "built";
  tag: string;
  /** Changes whenever what layOut writes changes: built images are kept under it. */
  key: string;
  /** Fills an empty folder with a Dockerfile and all that it copies. */
  layOut: (folder: string) => Promise<void>;
  /** Build arguments, such as BASE_IMAGE: the tag of an image that stands before this one in the list. */
  args: Readonly<Record<string, string>>;
}

export interface DebianImage {
  kind: "debian";
  tag: string;
  /** Built by mmdebstrap when the cache has none. */
  recipe: RootfsRecipe;
  changes: readonly string[];
}

export type LabImage = BaseImage | BuiltImage | DebianImage;

const programPath = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Node (the one that runs this) as /usr/local/bin/node, busybox and certificates; more `programs` as path in the image → path here. */
export function nodeImage(tag = "skep-lab/node:24", programs: Readonly<Record<string, string>> = {}): BaseImage {
  const all = { "/usr/local/bin/node": process.execPath, ...programs };
  return { kind: "base", tag, programs: all, changes: [programPath, 'CMD ["node"]'] };
}

/** Debian's Redis with redis-cli, busybox; `tag` is what a stack file asks for. */
export function redisImage(tag = "skep-lab/redis:7"): BaseImage {
  return {
    kind: "base",
    tag,
    programs: {
      // Debian's server is this program under the other name.
      "/usr/local/bin/redis-server": "/usr/bin/redis-check-rdb",
      "/usr/local/bin/redis-cli": "/usr/bin/redis-cli",
    },
    changes: [programPath, "WORKDIR /data", "VOLUME /data", 'CMD ["redis-server"]'],
  };
}

/** Makes the image on the engine. Throws SKEP_LAB_IMAGE with what the engine said. */
export async function makeImage(docker: Dockerode, image: LabImage, say: (line: string) => void): Promise<void> {
  if (image.kind === "base") {
    const tar = pack();
    await Promise.all([packBase(tar, image), importImage(docker, image, tar as unknown as Readable)]);
    return;
  }
  if (image.kind === "debian") {
    const root = await ensureRootfs(image.recipe, say);
    await tarOf(image.tag, root, [], (tar) => importImage(docker, image, tar));
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), "skep-lab-image-"));
  try {
    await image.layOut(folder);
    const options = { t: image.tag, buildargs: { ...image.args }, forcerm: true };
    await tarOf(image.tag, folder, ["--owner=0", "--group=0"], async (tar) => {
      await followProgress(image.tag, await docker.buildImage(tar, options));
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function importImage(docker: Dockerode, image: BaseImage | DebianImage, tar: Readable): Promise<void> {
  const options = { repo: repositoryOf(image.tag), tag: tagOf(image.tag), changes: [...image.changes] };
  await followProgress(image.tag, await docker.importImage(tar, options));
}

async function tarOf(
  tag: string,
  folder: string,
  options: readonly string[],
  take: (tar: Readable) => Promise<void>,
): Promise<void> {
  const tar = spawn("tar", ["--create", "--numeric-owner", ...options, "-C", folder, "."], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(tar, "close");
  await take(tar.stdout);
  const [code] = (await ended) as [number | null];
  if (code !== 0) throw imageError(tag, `tar ended with ${String(code)}`);
}

/** Reads an engine's progress to its end; throws SKEP_LAB_IMAGE when it tells of an error. */
export async function followProgress(what: string, stream: NodeJS.ReadableStream): Promise<void> {
  let text = "";
  for await (const chunk of stream) text += chunk.toString();
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const { error } = z.object({ error: z.string().optional() }).parse(JSON.parse(line));
    if (error !== undefined) throw imageError(what, error);
  }
}

function imageError(tag: string, message: string): SkepError {
  return new SkepError({ code: "SKEP_LAB_IMAGE", message: `image ${tag}: ${message}`, permanent: true });
}

function repositoryOf(tag: string): string {
  return tag.slice(0, tag.lastIndexOf(":"));
}

function tagOf(tag: string): string {
  return tag.slice(tag.lastIndexOf(":") + 1);
}

const busybox = "/bin/busybox";
const folders = ["bin", "dev", "etc", "etc/ssl", "etc/ssl/certs", "lib64", "proc", "root", "run", "sys", "usr", "var"];
/** Of glibc, beside those that the programs name: for looking up names, and for add-ons that a program loads later. */
const moreLibraries = [
  ...["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"],
  ...["librt.so.1", "libdl.so.2", "libpthread.so.0", "libm.so.6", "libutil.so.1"],
];
const users = [
  "root:x:0:0:root:/root:/bin/sh",
  "redis:x:999:999::/data:/bin/sh",
  "node:x:1000:1000::/tmp:/bin/sh",
  "nobody:x:65534:65534::/:/bin/false",
];
const groups = ["root:x:0:", "docker:x:998:", "redis:x:999:", "node:x:1000:", "nogroup:x:65534:"];

/** What every base image has; a change of it makes other images. */
export const baseLayout = { folders, users, groups, moreLibraries };

async function packBase(tar: Pack, image: BaseImage): Promise<void> {
  for (const name of folders) tar.entry({ name, type: "directory", mode: 0o755 });
  tar.entry({ name: "tmp", type: "directory", mode: 0o1777 });
  // A new volume takes its owner from here: Redis' user writes to it.
  tar.entry({ name: "data", type: "directory", mode: 0o755, uid: 999, gid: 999 });
  tar.entry({ name: "etc/passwd", mode: 0o644 }, users.join("\n") + "\n");
  tar.entry({ name: "etc/group", mode: 0o644 }, groups.join("\n") + "\n");
  tar.entry({ name: "etc/nsswitch.conf", mode: 0o644 }, "hosts: files dns\n");
  await packFile(tar, "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt", 0o644);
  const files = { ...image.programs, "/bin/busybox": busybox };
  const loaded = new Set<string>();
  for (const program of Object.values(files)) for (const library of await librariesOf(program)) loaded.add(library);
  const [libc] = [...loaded].filter((library) => library.endsWith("/libc.so.6"));
  if (libc !== undefined) for (const name of moreLibraries) loaded.add(join(dirname(libc), name));
  for (const library of loaded) await packFile(tar, library, library, 0o755);
  for (const [name, program] of Object.entries(files)) await packFile(tar, name, program, 0o755);
  for (const applet of (await command([busybox, "--list"])).trim().split("\n")) {
    if (applet !== "busybox") tar.entry({ name: `bin/${applet}`, type: "symlink", linkname: "busybox" });
  }
  tar.finalize();
}

/** Absolute paths, as the loader finds them; none for a static program. */
async function librariesOf(program: string): Promise<string[]> {
  const { stdout, stderr, code } = await tryCommand(["ldd", program]);
  if (code === 0) return [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? "");
  if (stderr.includes("not a dynamic executable")) return [];
  throw imageError(program, stderr.trim());
}

async function packFile(tar: Pack, name: string, file: string, mode: number): Promise<void> {
  const path = await realpath(file);
  const { size } = await stat(path);
  await pipeline(createReadStream(path), tar.entry({ name: name.slice(1), mode, size }));
}
