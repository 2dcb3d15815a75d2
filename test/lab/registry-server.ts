// A registry for images, as a process: enough of the OCI distribution API for `docker push`, `docker pull` and an engine's
// look at a manifest. Arguments: folder, port. Where USER_NAME is in the environment it and USER_PASSWORD are asked for.
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

const [folder = "", port = ""] = process.argv.slice(2);
const { USER_NAME: user, USER_PASSWORD: password } = process.env;
const wanted = user === undefined ? null : `Basic ${Buffer.from(`${user}:${password ?? ""}`).toString("base64")}`;
const at = (name: string): string => join(folder, name.replaceAll("/", "_"));

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "", "http://registry");
  const end = (status: number, headers: Record<string, string | number> = {}, body: string | Buffer = ""): void => {
    response.writeHead(status, headers).end(request.method === "HEAD" ? "" : body);
  };
  if (wanted !== null && request.headers.authorization !== wanted) {
    end(401, { "WWW-Authenticate": 'Basic realm="lab"' });
    return;
  }
  if (url.pathname === "/v2/") {
    end(200);
    return;
  }
  const [, name = "", kind = "", what = ""] =
    /^\/v2\/(.+)\/(blobs\/uploads|blobs|manifests)\/(.*)$/.exec(url.pathname) ?? [];
  if (kind === "blobs/uploads") await upload(request, end, name, what, url.searchParams.get("digest"));
  else if (kind === "manifests" && request.method === "PUT") {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const bytes = Buffer.concat(pieces);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    const kept = JSON.stringify({ type: request.headers["content-type"], text: bytes.toString("utf8") });
    for (const reference of [what, digest]) await writeFile(at(`manifest ${name} ${reference}`), kept);
    end(201, { "Docker-Content-Digest": digest });
  } else if (kind === "manifests") {
    const kept = await readFile(at(`manifest ${name} ${what}`), "utf8").catch(() => null);
    if (kept === null) {
      end(404, {}, '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
      return;
    }
    const { type, text } = JSON.parse(kept) as { type: string; text: string };
    const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
    const headers = {
      "Content-Type": type,
      "Docker-Content-Digest": digest,
      "Content-Length": Buffer.byteLength(text),
    };
    end(200, headers, text);
  } else {
    const path = at(`blob ${what}`);
    const size = await stat(path).then(
      (found) => found.size,
      () => null,
    );
    if (size === null || request.method === "HEAD") {
      end(size === null ? 404 : 200, { "Docker-Content-Digest": what, "Content-Length": size ?? 0 });
      return;
    }
    response.writeHead(200, { "Docker-Content-Digest": what, "Content-Length": size });
    await pipeline(createReadStream(path), response);
  }
}

/** POST begins it, PATCH brings bytes, PUT gives them their digest. */
async function upload(
  request: IncomingMessage,
  end: (status: number, headers: Record<string, string | number>) => void,
  name: string,
  begun: string,
  digest: string | null,
): Promise<void> {
  const id = begun === "" ? randomUUID() : begun;
  await pipeline(request, createWriteStream(at(`upload ${id}`), { flags: "a" }));
  if (digest !== null) {
    await rename(at(`upload ${id}`), at(`blob ${digest}`));
    end(201, { "Docker-Content-Digest": digest, Location: `/v2/${name}/blobs/${digest}` });
    return;
  }
  const { size } = await stat(at(`upload ${id}`));
  const headers = { Location: `/v2/${name}/blobs/uploads/${id}`, Range: `0-${Math.max(0, size - 1)}` };
  end(202, { ...headers, "Docker-Upload-UUID": id });
}

await mkdir(folder, { recursive: true });
createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    response.destroy(error instanceof Error ? error : new Error(String(error)));
  });
}).listen(Number(port), "127.0.0.1", () => {
  console.log("listening");
});
