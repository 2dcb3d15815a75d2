// Volumes that cannot be read, or that change, shrink and go while they are read.
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errorOf, partOf, readRun, type Host, type Taken } from "./host.ts";

const bucket = "sources";

export function sources(getHost: () => Host): void {
  let host: Host;
  before(async () => {
    host = getHost();
    await host.initBucket(bucket);
  });

  it("takes all that a broken disk gives, and names what it does not", async () => {
    await host.newVolume("broken", {});
    await mountBrokenDisk(host, "broken");
    try {
      const { code, run, stderr } = await host.backup(bucket, "broken");
      expect(code, stderr).to.equal(3);
      expect(run.status).to.equal("partial");
      const part = partOf(run, "broken");
      expect(part.status, JSON.stringify(part)).to.equal("partial");
      expect(errorOf(part)).to.include({ code: "SKEP_SOURCE_INCOMPLETE" });
      const unreadable = part.warnings.filter((warning) => warning.code === "SKEP_SOURCE_FILE_UNREADABLE");
      const messages = unreadable.map(({ message }) => message);
      expect(messages).to.have.length(3);
      expect(messages.find((message) => message.includes("torn-inode"))).to.contain("EBADMSG");
      expect(messages.find((message) => message.includes("torn-folder"))).to.contain("EBADMSG");
      expect(messages.find((message) => message.includes("bad-sectors"))).to.contain("EIO");
      const result = await host.skep(...host.restoreArgv(bucket, "broken", "--as", "rescued"));
      expect(result.code, result.stderr).to.equal(3);
      expect(host.tree("rescued"))
        .to.match(/ {2}\.\/good\n/)
        .and.match(/ {2}\.\/folder\/inner\n/);
      expect(existsSync(host.volume("rescued", "torn-folder")), "the folder itself could be read").to.equal(true);
      expect(existsSync(host.volume("rescued", "bad-sectors"))).to.equal(false);
    } finally {
      await host.node.run(["umount", volumeFolder("broken")]);
    }
  });

  it("fails a volume that is removed while it is read, and brings it back from the run before", async () => {
    await host.newVolume("orders", { a: randomBytes(10_000), b: "kept" });
    const tree = host.tree("orders");
    const first = await host.backupWhole(bucket, "orders");
    const { code, run } = await whileReading(host, "orders", () => host.docker("volume", "rm", "orders"));
    expect(code).to.equal(1);
    const error = errorOf(partOf(run, "orders"));
    expect(error).to.include({ code: "SKEP_SOURCE_VOLUME_GONE", permanent: true });
    expect(error.message).to.contain("/volumes/orders/_data").and.contain("removed while it was read");
    await host.restore(bucket, "orders", "--run", first.id);
    expect(host.tree("orders")).to.equal(tree);
    await host.backupWhole(bucket, "orders");
  });

  it("takes a file that changes while it is read, and says which; what vanishes is named as well", async () => {
    const mails = Array.from({ length: 200 }, (_, at) => `mail-${String(at)}`);
    await host.newVolume("live", { ...Object.fromEntries(mails.map((name) => [name, name])), steady: "steady" });
    const log = host.volume("live", "zlog");
    // Large enough that it is seen open each time that it is read.
    writeFileSync(log, randomBytes(100_000_000));
    const ended = new AbortController();
    const writer = writeWhileRead(log, ended.signal);
    let taken: Taken;
    try {
      taken = await whileReading(host, "live", async () => {
        for (const name of mails) await rm(host.volume("live", name));
      });
    } finally {
      ended.abort();
      await writer;
    }
    expect(taken.code, taken.stderr).to.equal(0);
    const { warnings, status } = partOf(taken.run, "live");
    expect(status).to.equal("done");
    const said = (wanted: string): string =>
      warnings.flatMap((warning) => (warning.code === wanted ? [warning.message] : [])).join("\n");
    expect(said("SKEP_SOURCE_FILE_CHANGED")).to.contain("zlog");
    expect(said("SKEP_SOURCE_FILE_VANISHED")).to.contain("mail-");
    const restored = await host.restored(bucket, "live", taken.run);
    expect(restored)
      .to.match(/ {2}\.\/steady\n/)
      .and.match(/ {2}\.\/zlog\n/);
  });
}

function volumeFolder(volume: string): string {
  return `/var/lib/docker/volumes/${volume}/_data`;
}

/**
 * Backs up the volume with one more file in it, the first in order and large: the agent is stopped while it has that
 * open, and goes on after `act`. Afterwards the file is empty.
 */
async function whileReading(host: Host, volume: string, act: () => Promise<unknown>): Promise<Taken> {
  const large = await open(host.volume(volume, "a-large-file"), "w");
  try {
    await large.writeFile(randomBytes(200_000_000));
    const { dev, ino } = await large.stat();
    const running = host.skep(...host.backupArgv(bucket, volume));
    const deadline = Date.now() + 60_000;
    let agent: number | null;
    while ((agent = readerOf(dev, ino)) === null) {
      if (Date.now() > deadline) throw new Error("the volume is not read");
      await sleep(5);
    }
    process.kill(agent, "SIGSTOP");
    try {
      expect(readerOf(dev, ino), "the file was read before the agent could be stopped").to.equal(agent);
      await act();
      await large.truncate(0);
    } finally {
      process.kill(agent, "SIGCONT");
    }
    return readRun(await running);
  } finally {
    await large.close();
  }
}

/** Adds to the file whenever an agent has it open, which stands still meanwhile: no read of it escapes a busy machine. */
async function writeWhileRead(file: string, ended: AbortSignal): Promise<void> {
  const { dev, ino } = statSync(file);
  while (!ended.aborted) {
    const agent = readerOf(dev, ino);
    if (agent !== null && !isHeld(agent)) {
      process.kill(agent, "SIGSTOP");
      appendFileSync(file, "one more line\n");
      process.kill(agent, "SIGCONT");
    }
    await sleep(5);
  }
}

/** True for a process that whoever reads another file keeps stopped (state T, proc_pid_stat(5)). */
function isHeld(pid: number): boolean {
  try {
    return /\) T /.test(readFileSync(`/proc/${String(pid)}/stat`, "utf8"));
  } catch (error) {
    if (isGone(error)) return true;
    throw error;
  }
}

/**
 * The agent that has the file open, by its process id of the host. It is looked for among the children of the CLIs that
 * this process started: it is asked hundreds of times a second, and the machine has hundreds of processes.
 */
function readerOf(dev: number, ino: number): number | null {
  const found = childrenOf(String(process.pid))
    .flatMap(childrenOf)
    .find((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("agent/keeper.ts")) return false;
        return readdirSync(`/proc/${pid}/fd`).some((descriptor) => {
          const file = statSync(`/proc/${pid}/fd/${descriptor}`);
          return file.dev === dev && file.ino === ino;
        });
      } catch (error) {
        if (isGone(error)) return false;
        throw error;
      }
    });
  return found === undefined ? null : Number(found);
}

/** What its main thread started. */
function childrenOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter((child) => child !== "");
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Processes come and go. */
function isGone(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** Mounts a disk of its own at the volume's folder: two good files, one with bad sectors, a torn inode, a torn folder. */
async function mountBrokenDisk(host: Host, volume: string): Promise<void> {
  const content = mkdtempSync(join(host.folder, "disk-"));
  const image = "/srv/broken.img";
  const imagePath = host.node.hostPath(image);
  const sh = (script: string): string =>
    execFileSync("bash", ["-euc", script, "-", imagePath, content], { encoding: "utf8", stdio: "pipe" });
  // Without a journal everything after the files' blocks is free: what is cut off below are the last file's bytes.
  sh(`cd "$2"; mkdir folder torn-folder
    echo good > good; echo inner > folder/inner; echo torn > torn-inode; echo lost > torn-folder/lost
    truncate -s 32M "$1"; mkfs.ext4 -q -O ^has_journal -b 1024 -d "$2" "$1"
    head -c 1000000 /dev/urandom > bad-sectors; debugfs -w -R "write bad-sectors bad-sectors" "$1"
    debugfs -w -R "set_inode_field torn-inode checksum 0x1234" "$1"
    block=$(debugfs -R "blocks torn-folder" "$1" | tr -d ' ')
    printf torn | dd of="$1" bs=1 seek=$((block * 1024 + 100)) conv=notrunc status=none`);
  const [start, end] = (/\(0-\d+\):(\d+)-(\d+)/.exec(sh('debugfs -R "stat bad-sectors" "$1"')) ?? [])
    .slice(1)
    .map(Number);
  if (start === undefined || end === undefined) throw new Error("the last file lies elsewhere");
  await host.node.run([
    "sh",
    "-euc",
    `[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
     for at in 0 1 2 3 4 5 6 7; do [ -e /dev/loop$at ] || mknod /dev/loop$at b 7 $at; done
     mount -o loop ${image} ${volumeFolder(volume)}
     truncate -s ${Math.floor((start + end) / 2)}K ${image}`,
  ]);
}
