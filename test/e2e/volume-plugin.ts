// A volume driver as Docker knows them (its volume plugin protocol, by a socket in /run/docker/plugins), whose volumes
// are folders of the node that are of use only while they are mounted.
import { once } from "node:events";
import { mkdir, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { LabNode } from "../lab/node.ts";

export class VolumePlugin {
  readonly name = "distant";
  /** Of each volume: how many containers have it mounted now. */
  readonly mounted = new Map<string, number>();
  readonly #node: LabNode;
  readonly #server: Server;

  private constructor(node: LabNode) {
    this.#node = node;
    this.#server = createServer((request, response) => {
      text(request)
        .then((body) => this.#answer(request.url ?? "", body))
        .then((answer) => {
          response.setHeader("content-type", "application/vnd.docker.plugins.v1.1+json");
          response.end(JSON.stringify(answer));
        })
        .catch((error: unknown) => response.writeHead(500).end(String(error)));
    });
  }

  static async on(node: LabNode): Promise<VolumePlugin> {
    const plugin = new VolumePlugin(node);
    await mkdir(node.hostPath("/run/docker/plugins"), { recursive: true });
    await mkdir(node.hostPath("/srv/distant"), { recursive: true });
    plugin.#server.listen(node.hostPath(`/run/docker/plugins/${plugin.name}.sock`));
    await once(plugin.#server, "listening");
    return plugin;
  }

  /** Where a volume's content lies, seen from the host. */
  folder(volume: string): string {
    return this.#node.hostPath(join("/srv/distant", volume));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await rm(this.#node.hostPath("/srv/distant"), { recursive: true, force: true });
  }

  async #answer(path: string, body: string): Promise<object> {
    const { Name: name = "" } = (body === "" ? {} : JSON.parse(body)) as { Name?: string };
    const isMounted = (this.mounted.get(name) ?? 0) > 0;
    const volume = { Name: name, Mountpoint: isMounted ? join("/srv/distant", name) : "" };
    switch (path) {
      case "/Plugin.Activate":
        return { Implements: ["VolumeDriver"] };
      case "/VolumeDriver.Capabilities":
        return { Capabilities: { Scope: "global" } };
      case "/VolumeDriver.Create":
        await mkdir(this.folder(name), { recursive: true });
        this.mounted.set(name, 0);
        return { Err: "" };
      case "/VolumeDriver.Remove":
        this.mounted.delete(name);
        return { Err: "" };
      case "/VolumeDriver.Mount":
        this.mounted.set(name, (this.mounted.get(name) ?? 0) + 1);
        return { Mountpoint: join("/srv/distant", name), Err: "" };
      case "/VolumeDriver.Unmount":
        this.mounted.set(name, (this.mounted.get(name) ?? 1) - 1);
        return { Err: "" };
      case "/VolumeDriver.Path":
        return { Mountpoint: volume.Mountpoint, Err: "" };
      case "/VolumeDriver.Get":
        return this.mounted.has(name) ? { Volume: volume, Err: "" } : { Err: `no volume ${name}` };
      case "/VolumeDriver.List":
        return { Volumes: [...this.mounted.keys()].map((known) => ({ Name: known, Mountpoint: "" })), Err: "" };
      default:
        return { Err: `unknown call ${path}` };
    }
  }
}
