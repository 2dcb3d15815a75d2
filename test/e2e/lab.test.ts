import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { Client } from "ssh2";
import { hierarchies } from "../lab/cgroup.ts";
import { command } from "../lab/command.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { cgroupOf, idFor, labFolder, readState } from "../lab/state.ts";

/** Everything on the machine that bears the name or id of the lab. */
async function traces(name: string): Promise<string[]> {
  const id = idFor(name);
  const texts = [
    await command(["ip", "-oneline", "link"]),
    await command(["ip", "netns", "list"]),
    await command(["iptables", "-S"]),
    await command(["ps", "-eo", "args"]),
    readFileSync("/proc/self/mounts", "utf8"),
    (await readdir("/run/systemd/nspawn/propagate")).join("\n"),
  ];
  const lines = texts.flatMap((text) => text.split("\n"));
  const paths = [labFolder(name), ...hierarchies().map((hierarchy) => join(hierarchy, cgroupOf(id)))];
  return [
    ...lines.filter(
      (line) => line.includes(`sk${id}`) || line.includes(`skep-${id}`) || line.includes(labFolder(name)),
    ),
    ...paths.filter((path) => existsSync(path)),
  ];
}

async function reaches(from: LabNode, to: LabNode): Promise<boolean> {
  return (await from.exec(["busybox", "ping", "-c", "1", "-W", "1", to.address])).code === 0;
}

async function swarmNames(node: LabNode): Promise<string[]> {
  const listed = (await node.docker.listNodes()) as { Description: { Hostname: string }; Status: { State: string } }[];
  return listed.filter((each) => each.Status.State === "ready").map((each) => each.Description.Hostname);
}

/** What `command` prints when the operator runs it after a login by password. */
async function asOperator(node: LabNode, line: string, stdin: string): Promise<{ code: number; output: string }> {
  const { host, port, operator } = await node.ssh();
  const client = new Client();
  try {
    const ready = once(client, "ready");
    client.connect({ host, port, username: operator.user, password: operator.password });
    await ready;
    return await new Promise((resolve, reject) => {
      client.exec(line, (error, stream) => {
        if (error !== undefined) {
          reject(error);
          return;
        }
        let output = "";
        stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
        stream.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
        stream.on("close", (code: number) => {
          resolve({ code, output });
        });
        stream.end(stdin);
      });
    });
  } finally {
    client.end();
  }
}

/** Those upon which Skep's own is built, so that one seed serves both. */
const images = [nodeImage(), redisImage()];

describe("the lab", () => {
  let lab: Lab;

  before(async () => {
    lab = await Lab.up({ nodes: 2, managers: 1, images });
  });
  after(async () => {
    await lab.down();
  });

  it("is a swarm of machines with addresses, host names and engines of their own", async () => {
    expect(await swarmNames(lab.node("node1"))).to.have.members(["node1", "node2"]);
    const hostnames = await Promise.all(lab.nodes.map((node) => node.run(["hostname"])));
    expect(hostnames).to.deep.equal(["node1\n", "node2\n"]);
    const ids = await Promise.all(lab.nodes.map(async (node) => ((await node.docker.info()) as { ID: string }).ID));
    expect(new Set(ids)).to.have.lengthOf(2);
    expect(await reaches(lab.node(0), lab.node(1))).to.be.true;
  });

  it("starts a container from an image that came with the node", async () => {
    const script = "console.log(process.version)";
    const run = await lab.node(1).run(["docker", "run", "--rm", "skep-lab/node:24", "node", "-e", script]);
    expect(run.trim()).to.equal(process.version);
  });

  it("shows a node's files to the host, those in its volumes as well", async () => {
    const node = lab.node(1);
    await node.run(["docker", "volume", "create", "data"]);
    const inside = (await node.run(["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", "data"])).trim();
    await node.run(["sh", "-c", 'echo kept > "$1/file"', "sh", inside]);
    expect(await readFile(node.hostPath(join(inside, "file")), "utf8")).to.equal("kept\n");
    expect(await readFile(node.hostPath("/etc/hostname"), "utf8")).to.equal("node2\n");
    await writeFile(node.hostPath("/run/from-the-host"), "hello");
    expect(await node.run(["cat", "/run/from-the-host"])).to.equal("hello");
  });

  it("cuts a node off from the network and heals it, while it goes on running", async () => {
    await lab.node(1).cut();
    expect(await reaches(lab.node(0), lab.node(1))).to.be.false;
    expect(await lab.node(1).run(["hostname"])).to.equal("node2\n");
    await lab.node(1).heal();
    expect(await reaches(lab.node(0), lab.node(1))).to.be.true;
  });

  it("takes a node's power away, and what was on its disk is there when it comes back", async () => {
    const node = lab.node(1);
    await node.crash();
    expect(node.isRunning).to.be.false;
    await node.start();
    expect(await node.run(["docker", "volume", "ls", "--quiet"])).to.equal("data\n");
    await node.stop();
    expect(node.isRunning).to.be.false;
    await node.start();
    expect(await node.run(["docker", "volume", "ls", "--quiet"])).to.equal("data\n");
  });

  it("lets a user in who is not root, and asks a password of them for sudo", async () => {
    const { operator } = await lab.node(0).ssh();
    expect(await asOperator(lab.node(0), "id -un", "")).to.deep.equal({ code: 0, output: "operator\n" });
    expect((await asOperator(lab.node(0), "sudo -n id -un", "")).code).to.not.equal(0);
    expect((await asOperator(lab.node(0), "sudo -S -p '' id -un", "wrong\n")).code).to.not.equal(0);
    const asRoot = await asOperator(lab.node(0), "sudo -S -p '' id -un", `${operator.password}\n`);
    expect(asRoot).to.deep.equal({ code: 0, output: "root\n" });
  });

  it("replaces a burned node by a fresh one at the same address, without volume, swarm or image", async () => {
    const burned = lab.node("node2");
    await lab.burn(burned);
    expect(lab.nodes.map((node) => node.name)).to.deep.equal(["node1"]);
    const fresh = await lab.addNode({ name: "node2" });
    expect(fresh.address).to.equal(burned.address);
    expect(await fresh.docker.listImages()).to.deep.equal([]);
    expect((await fresh.docker.listVolumes()).Volumes).to.deep.equal([]);
    await lab.join(fresh, "worker");
    expect(await fresh.run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"])).to.equal("active\n");
  });

  it("gives no number of a node twice, unless it is asked for", async () => {
    const node = await lab.addNode();
    expect(node.name).to.equal("node3");
    await lab.burn(node);
    const next = await lab.addNode();
    expect(next.name).to.equal("node4");
    await lab.burn(next);
  });

  it("loads images into an engine that runs already", async () => {
    const fresh = lab.node("node2");
    await lab.loadImages(images, [fresh]);
    const names = await fresh.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]);
    expect(names.trim().split("\n")).to.have.members(images.map((image) => image.tag));
  });

  it("lives beside another one, and leaves nothing when it is taken down", async () => {
    const other = await Lab.up({ nodes: 1 });
    expect(other.hostAddress).to.not.equal(lab.hostAddress);
    expect(await reaches(lab.node(0), other.node(0))).to.be.false;
    expect(await traces(other.name)).to.not.be.empty;
    await other.down();
    expect(await traces(other.name)).to.deep.equal([]);
    expect(await swarmNames(lab.node(0))).to.include("node1");
  });

  it("is taken away by the next one when its process died at once", async () => {
    const name = `dying-${String(process.pid)}`;
    const module = join(import.meta.dirname, "../lab/lab.ts");
    const script = `import { Lab } from ${JSON.stringify(module)};
      await Lab.up({ name: ${JSON.stringify(name)}, nodes: 1, managers: 1, redis: true });
      process.kill(process.pid, "SIGKILL");`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "inherit" });
    const [, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    expect(signal).to.equal("SIGKILL");
    expect(await traces(name)).to.not.be.empty;
    const next = await Lab.up({ say: () => undefined });
    await next.down();
    expect(await traces(name)).to.deep.equal([]);
    expect(await readState(lab.name)).to.not.be.null;
  });
});
