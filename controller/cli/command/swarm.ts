// skep swarm: a swarm's whole state as one file, and back; what Docker itself has no command for.
import type { Command } from "commander";
import { describe, run } from "../session.ts";
import { backupSwarm } from "../swarm/backup.ts";
import { addLockOptions, addOpenOptions } from "../swarm/file-keys.ts";
import { inspectSwarmFile } from "../swarm/inspect.ts";
import { releaseServices } from "../swarm/release.ts";
import { restoreSwarmFile } from "../swarm/restore.ts";

export function register(program: Command): void {
  const swarm = program.command("swarm").description("a swarm's whole state as one encrypted file, and back");

  const backup = addLockOptions(
    swarm
      .command("backup")
      .description("copy this manager's Raft state while it works, prove the copy, and write it as one file")
      .requiredOption("--output <file>", "a file that is not there yet; - writes to standard output"),
  );
  addSocketOption(backup);
  run(describe(backup, examples.backup), backupSwarm);

  const inspect = addOpenOptions(
    swarm
      .command("inspect <file>")
      .description("say what is in such a file, proven anew, without restoring it; - reads standard input"),
  );
  addUnlockKeyOption(inspect);
  run(describe(inspect, examples.inspect), inspectSwarmFile);

  const restore = addOpenOptions(
    swarm
      .command("restore")
      .description("bring it back on this host, as a swarm of one manager that others can join")
      .requiredOption("--input <file>", "the file; - reads standard input"),
  );
  addUnlockKeyOption(restore)
    .option(
      "--advertise-addr <ip[:port]>",
      "where other nodes will reach it (default: the old one, if this host has it)",
    )
    .option("--data-path-addr <ip>", "address or interface for overlay traffic (default: the advertised one)")
    .option("--data-root <folder>", "the engine's data root (default: what the engine says, else its settings)")
    .option("--old-is-dead", "go on though an old manager answers: it must never be used as this swarm again")
    .option(
      "--hold <service>",
      "let this one start nothing until `skep swarm release`; may be given several times",
      (value: string, former: string[] | undefined) => [...(former ?? []), value],
    )
    .option("--hold-all", "let no service start, but Skep's own")
    .option(
      "--locked",
      "never lay an autolocked swarm's keys down in clear: the engine is unlocked once it has started",
    )
    .option("--replace", "take this host out of the swarm that it is in")
    .option("--yes", "do it without being asked");
  addSocketOption(restore);
  run(describe(restore, examples.restore), restoreSwarmFile);

  const release = swarm
    .command("release")
    .description("let services start that a restore on this host held: all, or those that are named")
    .argument("[services...]", "their names or ids")
    .option("--data-root <folder>", "the engine's data root (default: what the engine says)")
    .option("--yes", "do it without being asked");
  addSocketOption(release);
  run(describe(release, examples.release), releaseServices);
}

function addUnlockKeyOption(command: Command): Command {
  return command.option(
    "--unlock-key-file <file>",
    "the swarm's unlock key of that time, where it is autolocked and not in the file",
  );
}

function addSocketOption(command: Command): Command {
  return command.option("--docker-socket <path>", "the engine's socket", "/var/run/docker.sock");
}

const examples = {
  backup: `skep swarm backup --output swarm-a.tar.zst.age --recipient age1…
skep swarm backup --output - --passphrase-file words.txt | ssh vault 'cat > swarm-a.tar.zst.age'`,
  inspect: "skep swarm inspect swarm-a.tar.zst.age --identity identity-anna.txt",
  restore: `skep swarm restore --input swarm-a.tar.zst.age --identity identity-anna.txt --advertise-addr 10.0.0.11
skep swarm restore --input swarm-a.tar.zst.age --hold shop_db --hold shop_web`,
  release: `skep swarm release shop_db
skep swarm release --yes`,
};
