// skep restore secret|config|network|service|stack: the commands and their options. What they do is restore-objects.ts.
import { InvalidArgumentError, Option, type Command } from "commander";
import { addIdentityOption, addKitOption, addStoreOptions } from "./access.ts";
import type { Restorable, RestoreObjectsOptions } from "./restore-objects.ts";
import { describe, run } from "./session.ts";

const commands: Record<Restorable, { what: string; example: string }> = {
  secret: {
    what: "bring a secret back; an update makes one of a new name and points its services to it",
    example: "skep restore secret db-password --identity identity-anna.txt",
  },
  config: {
    what: "bring a config back; an update makes one of a new name and points its services to it",
    example: "skep restore config app.conf --existing update --identity identity-anna.txt",
  },
  network: {
    what: "bring a network back, with its subnets",
    example: "skep restore network back --remap-subnet 10.0.1.0/24=10.77.1.0/24 --identity identity-anna.txt",
  },
  service: {
    what: "bring a service back, with the networks, secrets and configs that it needs",
    example: "skep restore service shop_web --existing update --identity identity-anna.txt",
  },
  stack: {
    what: "bring a stack back: all its objects and what they need; volumes come back by `skep restore volume`",
    example: "skep restore stack shop --as shop-copy --publish 8080=18080 --identity identity-anna.txt",
  },
};

export function registerObjectRestores(restore: Command): void {
  for (const kind of Object.keys(commands) as Restorable[]) {
    const { what, example } = commands[kind];
    const command = restore
      .command(`${kind} <name>`)
      .description(what)
      .option("--run <run>", "from this run (default: the newest with a proven Raft copy)", "latest")
      .option("--from <source>", "from a swarm directory or a tar of one instead of a run")
      .option("--unlock-key-file <file>", "the copied swarm's unlock key, where it is autolocked; - reads stdin")
      .option(
        "--docker <address>",
        "engine of a manager: unix:///PATH or tcp://HOST:PORT (default: $DOCKER_HOST, else this machine's)",
      )
      .option("--as <name>", kind === "stack" ? "as a stack of another name" : "under another name")
      .addOption(
        new Option("--existing <what>", "what becomes of those that are there and differ")
          .choices(["fail", "skip", "update"])
          .default("fail"),
      )
      .option("--dry-run", "show the plan and do nothing")
      .option("--yes", "do it without being asked");
    if (kind === "service" || kind === "stack") {
      command.option("--publish <old=new>", "publish a port elsewhere; may be given again", parsePublish);
    }
    if (kind !== "secret" && kind !== "config") {
      command.option("--remap-subnet <old=new>", "give a network another subnet; may be given again", parseSubnets);
    }
    addIdentityOption(addStoreOptions(addKitOption(command)));
    run(describe(command, example), async (session, options: RestoreObjectsOptions, name) => {
      // Only here: restoring a volume reads no Raft state.
      const { restoreObjects } = await import("./restore-objects.ts");
      return await restoreObjects(session, options, kind, name);
    });
  }
}

function parsePublish(text: string, before = new Map<number, number>()): Map<number, number> {
  const [, from, to] = /^(\d{1,5})=(\d{1,5})$/.exec(text) ?? [];
  const valid = (port: number): boolean => port >= 1 && port <= 65_535;
  if (!valid(Number(from)) || !valid(Number(to))) throw new InvalidArgumentError("write OLD=NEW, e.g. 8080=18080");
  return before.set(Number(from), Number(to));
}

export function parseSubnets(text: string, before = new Map<string, string>()): Map<string, string> {
  const [, from, to] = /^([0-9a-fA-F.:/]+)=([0-9a-fA-F.:/]+)$/.exec(text) ?? [];
  if (from === undefined || to === undefined)
    throw new InvalidArgumentError("write OLD=NEW, e.g. 10.0.1.0/24=10.77.1.0/24");
  return before.set(from, to);
}
