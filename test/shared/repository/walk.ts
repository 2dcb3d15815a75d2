// A plain walk of a folder for tests; the agent has the real one.
import { lstatSync, readdirSync, readlinkSync, type BigIntStats } from "node:fs";
import type { SourceEntry } from "../../../shared/repository/snapshot.ts";

const slash = Buffer.from("/");

function text(bytes: Buffer, name: string): Record<string, string> {
  const path = bytes.toString("utf8");
  return Buffer.from(path, "utf8").equals(bytes) ? { [name]: path } : { [`${name}Base64`]: bytes.toString("base64") };
}

function typeOf(stats: BigIntStats): SourceEntry["metadata"]["type"] {
  if (stats.isDirectory()) return "directory";
  if (stats.isSymbolicLink()) return "symlink";
  return stats.isFIFO() ? "fifo" : "file";
}

export async function* walk(root: string): AsyncGenerator<SourceEntry> {
  const seen = new Map<bigint, Buffer>();
  function* visit(path: Buffer, absolute: Buffer): Generator<SourceEntry> {
    const stats = lstatSync(absolute, { bigint: true });
    const type = typeOf(stats);
    const first = stats.nlink > 1n && type === "file" ? seen.get(stats.ino) : undefined;
    if (type === "file") seen.set(stats.ino, path);
    yield {
      metadata: {
        ...text(path, "path"),
        type,
        mode: Number(stats.mode & 0o7777n),
        uid: Number(stats.uid),
        gid: Number(stats.gid),
        mtimeNs: String(stats.mtimeNs),
        ...(type === "symlink" && text(readlinkSync(absolute, { encoding: "buffer" }), "linkTarget")),
        ...(first && text(first, "hardLinkTo")),
      },
      file:
        type === "file" && first === undefined
          ? {
              path: absolute,
              sizeBytes: Number(stats.size),
              mtimeNs: stats.mtimeNs,
              ctimeNs: stats.ctimeNs,
              inode: stats.ino,
            }
          : null,
    };
    if (type !== "directory") return;
    for (const name of readdirSync(absolute, { encoding: "buffer" }).sort((a, b) => Buffer.compare(a, b))) {
      const below = path.length === 0 ? name : Buffer.concat([path, slash, name]);
      yield* visit(below, Buffer.concat([absolute, slash, name]));
    }
  }
  for (const entry of visit(Buffer.alloc(0), Buffer.from(root))) {
    await Promise.resolve();
    yield entry;
  }
}
