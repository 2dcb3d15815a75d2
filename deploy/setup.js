// node deploy/setup.js [SCRIPT.ts ARGUMENT…]: makes a machine ready for the lab and the tests, then runs the script with the
// project's own Node. Run before anything is installed, so: plain JavaScript that old versions of Node take, and nothing
// but Node's own modules. It installs only what is missing, says so, and is done in a blink when nothing is.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = join(root, "node_modules");

/** Programs of the host that the lab and the tests call; of several in a line the first is installed, any will do. */
const packages = [
  ["systemd-container"],
  ["mmdebstrap"],
  ["debian-archive-keyring"],
  ["ca-certificates"],
  ["iproute2"],
  ["iptables"],
  ["openssh-client"],
  // redis-tools has the server's binary, and unlike redis-server no service that would be started.
  ["redis-tools"],
  ["busybox-static", "busybox"],
  // mkfs.ext4 and debugfs: for a disk with faults.
  ["e2fsprogs"],
  // mkfs.btrfs, mkfs.xfs: data roots on filesystems that give snapshots and reflinks.
  ["btrfs-progs"],
  ["xfsprogs"],
  ["age"],
  ["zstd"],
];

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

function refuse(message, hint) {
  process.stderr.write(`error: ${message}\nhint: ${hint}\n`);
  process.exit(1);
}

/** Runs a program to its end; its output is shown only when it fails. */
function run(program, args, options = {}) {
  const result = spawnSync(program, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024, ...options });
  if (result.status === 0) return result.stdout;
  process.stderr.write(`${result.stdout || ""}${result.stderr || ""}`);
  const how = result.error ? result.error.message : `exit status ${result.status}`;
  return refuse(
    `${program} ${args.join(" ")}: ${how}`,
    "what it wrote stands above; npm run setup goes on where it stopped",
  );
}

function checkMachine() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    refuse(
      `the lab runs on Linux on amd64, not on ${process.platform} on ${process.arch}`,
      "npm run unit needs no lab",
    );
  }
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  if (!/^ID=debian$/m.test(release)) {
    refuse(
      "this machine is no Debian: the lab installs Debian packages",
      "use a Debian 12 or 13, a virtual machine will do",
    );
  }
  if (process.getuid() !== 0) {
    refuse("the lab makes network namespaces, mounts and cgroups, and needs root for it", "run it again as root");
  }
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  if (!/^\S+ \/sys\/fs\/cgroup\S* cgroup2? /m.test(mounts)) {
    refuse(
      "no cgroup hierarchy is mounted below /sys/fs/cgroup",
      "use a machine, or a virtual one, instead of a container",
    );
  }
  if (
    !/\boverlay$/m.test(readFileSync("/proc/filesystems", "utf8")) &&
    spawnSync("modprobe", ["overlay"]).status !== 0
  ) {
    refuse("the kernel has no overlay file system", "use a kernel with CONFIG_OVERLAY_FS");
  }
  if (spawnSync("unshare", ["--net", "--mount", "--pid", "--fork", "true"]).status !== 0) {
    refuse("root may not make namespaces here", "use a machine, or a virtual one, instead of a container");
  }
  let labs = process.env.SKEP_LAB_STATE || "/var/lib/skep-lab";
  while (!existsSync(labs)) labs = dirname(labs);
  const kind = run("stat", ["--file-system", "--format=%T", labs]).trim();
  if (/^(overlayfs|tmpfs|ramfs|nfs)$/.test(kind)) {
    refuse(
      `${labs} is on ${kind}, upon which Docker can't keep its layers`,
      "name a folder on a disk in SKEP_LAB_STATE",
    );
  }
}

/** Packages to install: of each line the first, where none of it is installed. */
function missingPackages() {
  const format = "--showformat=${Package} ${db:Status-Abbrev}\\n";
  const listed = spawnSync("dpkg-query", ["--show", format, ...packages.flat()], { encoding: "utf8" }).stdout;
  const installed = listed.split("\n").flatMap((line) => (/ ii $/.test(line) ? [line.split(" ")[0]] : []));
  return packages.filter((line) => !line.some((name) => installed.includes(name))).map(([first]) => first);
}

function installPackages() {
  const missing = missingPackages();
  if (missing.length === 0) return;
  say(`installing Debian packages: ${missing.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const lock = ["-o", "DPkg::Lock::Timeout=300"];
  run("apt-get", ["update", "-q", ...lock], { env });
  run("apt-get", ["install", "-q", "-y", "--no-install-recommends", ...lock, ...missing], { env });
}

/** True when node_modules holds what package-lock.json says: npm writes down there what it installed. */
function dependenciesMatch() {
  const record = join(modules, ".package-lock.json");
  if (!existsSync(record) || !existsSync(join(modules, ".bin", "node"))) return false;
  const installed = JSON.parse(readFileSync(record, "utf8")).packages;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    if (path === "") return true;
    const found = installed[path];
    // Optional ones are of other platforms, mostly.
    return found ? found.version === version && found.integrity === integrity : optional === true;
  });
}

function installDependencies() {
  if (dependenciesMatch()) return;
  if (existsSync(modules) && lstatSync(modules).isSymbolicLink()) {
    refuse(
      "node_modules is a link to a folder that package-lock.json does not fit",
      "run npm ci --ignore-scripts where it points",
    );
  }
  say("installing npm packages (npm ci)");
  const args = ["ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund"];
  // Under `npm run` the npm that is running, else the one in PATH.
  const npm = process.env.npm_execpath;
  if (npm && /\.c?js$/.test(npm)) run(process.execPath, [npm, ...args], { cwd: root });
  else run("npm", args, { cwd: root });
}

/** Becomes `node SCRIPT …` of the project's Node, as far as a program can: streams, signals and exit status are its. */
function runScript(args) {
  const bin = join(modules, ".bin");
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  const child = spawn(join(bin, "node"), args, { stdio: "inherit", env });
  // The terminal sends SIGINT to both; the child decides what comes of it.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => refuse(error.message, "npm ci --ignore-scripts"));
  child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
}

checkMachine();
installPackages();
installDependencies();
if (process.argv.length > 2) runScript(process.argv.slice(2));
else say("all is there");
