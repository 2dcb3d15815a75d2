// `npm run lab`: the lab for people. A lab made here stays until `down`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import Table from "cli-table3";
import { Command, InvalidArgumentError, Option } from "commander";
import { toErrorRecord } from "../../shared/errors.ts";
import { suites, type Suite } from "./apt-sources.ts";
import { redisImage } from "./image.ts";
import { Lab } from "./lab.ts";
import type { LabNode } from "./node.ts";
import { skepImages } from "./skep-image.ts";
import { labFolder } from "./state.ts";

interface Named {
  name: string;
}

interface UpOptions extends Named {
  nodes: number;
  managers?: number;
  engine: Suite;
  s3?: true;
  redis?: true;
  images?: true;
}

const program = new Command("lab")
  .description("a real swarm on this machine, to try things on: nodes can be cut off, burned and replaced")
  .enablePositionalOptions()
  .addHelpText("after", "\nExample:\n  npm run lab -- up --nodes 3 --s3\n  npm run lab -- ssh node2 docker ps");

/** A command on one lab; every one has --name and, in its help, an example. */
function labCommand(name: string, description: string, example: string): Command {
  return program
    .command(name)
    .description(description)
    .option("--name <lab>", "which lab", "lab")
    .addHelpText("after", `\nExample:\n  npm run lab -- ${example}`);
}

function wholeNumber(text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError("a whole number, for example 3");
  return Number(text);
}

labCommand("up", "make a lab and start it", "up --nodes 3 --s3 --images")
  .option("--nodes <number>", "how many nodes", wholeNumber, 3)
  .option(
    "--managers <number>",
    "how many of them are managers; 0: no swarm (default: 3, or 1 with fewer nodes)",
    wholeNumber,
  )
  .addOption(new Option("--engine <release>", "Debian whose Docker they run").choices(suites).default("bookworm"))
  .option("--s3", "also an S3 server")
  .option("--redis", "also a Redis server")
  .option("--images", "give the nodes Skep's image, made from this checkout, and that of Redis")
  .action(async (options: UpOptions) => {
    const { name, nodes, engine, s3, redis } = options;
    const managers = options.managers ?? (nodes >= 3 ? 3 : 1);
    const images = options.images === true ? [redisImage(), ...(await skepImages())] : undefined;
    const lab = await Lab.up({
      ...{ name, nodes, engine, s3: s3 === true, redis: redis === true, keep: true },
      ...(managers > 0 && nodes > 0 && { managers }),
      ...(images !== undefined && { images }),
    });
    await printStatus([lab], false);
  });

labCommand("status", "show the lab's nodes and servers", "status --json")
  .option("--all", "all labs of this machine")
  .option("--json", "as JSON: an array of labs")
  .action(async ({ name, all, json }: Named & { all?: true; json?: true }) => {
    const names = all === true ? (await Lab.list()).map((state) => state.name) : [name];
    await printStatus(await Promise.all(names.map((each) => Lab.open(each))), json === true);
  });

labCommand("ssh", "come in over SSH, or run a command", "ssh node2 journalctl -u docker -n 20")
  .argument("<node>")
  .argument("[command...]")
  .option("--operator", "as the user operator (password: see status --json) instead of root")
  .passThroughOptions()
  .action(async (node: string, command: string[], { name, operator }: Named & { operator?: true }) => {
    const lab = await Lab.open(name);
    process.exitCode = await ssh(lab, lab.node(node), operator === true ? "operator" : "root", command);
  });

const acts: Record<string, [description: string, act: (lab: Lab, node: LabNode) => Promise<void>]> = {
  cut: ["cut a node off from the network; it goes on running", (_, node) => node.cut()],
  heal: ["connect a node that was cut off", (_, node) => node.heal()],
  stop: ["power a node off, cleanly", (_, node) => node.stop()],
  crash: ["take a node's power away", (_, node) => node.crash()],
  start: ["switch a node on that is off", (_, node) => node.start()],
  burn: ["destroy a node with all that it holds", (lab, node) => lab.burn(node)],
};
for (const [act, [description, run]] of Object.entries(acts)) {
  labCommand(act, description, `${act} node2`)
    .argument("<node>")
    .action(async (node: string, { name }: Named) => {
      const lab = await Lab.open(name);
      await run(lab, lab.node(node));
    });
}

labCommand("add", "add a fresh node, without images unless asked for", "add --join worker")
  .argument("[node]", "the name of a node that was burned, to get its address")
  .addOption(new Option("--join <role>", "let it join the swarm").choices(["manager", "worker"]))
  .option("--images", "give it Skep's image and that of Redis")
  .action(async (node: string | undefined, options: Named & { join?: "manager" | "worker"; images?: true }) => {
    const lab = await Lab.open(options.name);
    const images = options.images === true ? [redisImage(), ...(await skepImages())] : undefined;
    const added = await lab.addNode({
      ...(node !== undefined && { name: node }),
      ...(images !== undefined && { images }),
    });
    if (options.join !== undefined) await lab.join(added, options.join);
    process.stdout.write(`${added.name} ${added.address}\n`);
  });

labCommand("down", "take the lab away, with all that it holds", "down --all")
  .option("--all", "all labs of this machine, also those of tests that run")
  .action(async ({ name, all }: Named & { all?: true }) => {
    if (all === true) for (const state of await Lab.list()) await Lab.takeAway(state.name);
    else await Lab.takeAway(name);
  });

program
  .command("sweep")
  .description("take away each lab whose process died; every new lab does so as well")
  .addHelpText("after", "\nExample:\n  npm run lab -- sweep")
  .action(async () => {
    await Lab.sweep();
  });

program
  .command("prepare")
  .description("make all that labs are made of and that the cache does not have yet")
  .addHelpText("after", "\nExample:\n  npm run lab -- prepare")
  .action(async () => {
    await Lab.prepare([redisImage(), ...(await skepImages())]);
  });

async function ssh(lab: Lab, node: LabNode, user: "root" | "operator", command: string[]): Promise<number> {
  const access = await node.ssh();
  const knownHosts = join(labFolder(lab.name), `known_hosts.${node.name}`);
  await writeFile(knownHosts, `${access.host} ${access.hostKey}\n`);
  const options = ["-o", `UserKnownHostsFile=${knownHosts}`, "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"];
  const key = ["-i", access[user].privateKeyPath];
  const child = spawn("ssh", [...options, ...key, `${user}@${access.host}`, ...command], { stdio: "inherit" });
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}

async function printStatus(labs: readonly Lab[], asJson: boolean): Promise<void> {
  const statuses = await Promise.all(labs.map((lab) => lab.status()));
  if (asJson) {
    process.stdout.write(`${JSON.stringify(statuses, null, 2)}\n`);
    return;
  }
  for (const { name, engine, nodes, s3, redis } of statuses) {
    const head = ["node", "address", "power", "network", "swarm", "docker"];
    const table = new Table({ head, style: { head: [], border: [], compact: true } });
    for (const node of nodes) {
      const { power, network, swarm, dockerVersion } = node;
      table.push([node.name, node.address, power, network, swarm, dockerVersion ?? "-"]);
    }
    process.stdout.write(`lab ${name} (${engine})\n${table.toString()}\n`);
    if (s3 !== null) process.stdout.write(`S3     ${s3.endpoint}, ${s3.power}; credentials: status --json\n`);
    if (redis !== null)
      process.stdout.write(`Redis  ${redis.host}:${redis.port}, ${redis.power}; password: status --json\n`);
  }
}

try {
  await program.parseAsync();
} catch (thrown) {
  const { code, message, hint } = toErrorRecord(thrown);
  process.stderr.write(`error: ${message} (${code})\n${hint === undefined ? "" : `hint: ${hint}\n`}`);
  process.exitCode = 1;
}
