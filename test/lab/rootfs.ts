// Root file systems of the lab's machines: built once by mmdebstrap from the machine's own mirrors, then kept in a
// cache folder under a name made of everything that they are built from. A finished one is never written to again.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { debianTargets, sourcesFor, type Suite } from "./apt-sources.ts";
import { cacheFolder, removeUnused, touch } from "./cache.ts";
import { command } from "./command.ts";
import { withLock } from "./lock.ts";

export interface RootfsRecipe {
  name: string;
  suite: Suite;
  packages: readonly string[];
  /** Packages of a later release, with what they need of it. */
  later?: { suite: Suite; packages: readonly string[] };
  /** Run by /bin/sh inside the new root once the packages are in; fixed text of ours, no data in it. */
  finish: string;
}

const nodePackages = [
  ...[
    "systemd",
    "systemd-sysv",
    "dbus",
    "docker.io",
    "openssh-server",
    "sudo",
    "iproute2",
    "iptables",
    "procps",
    "kmod",
  ],
  ...["ca-certificates", "busybox-static", "attr", "acl"],
];

// The machine that Docker sees is a container: its cgroups arrive read-only, and the socket is wanted outside as well.
const nodeFinish = `set -e
rm -f /etc/ssh/ssh_host_* /etc/machine-id
mkdir -p /etc/systemd/system/docker.service.d /etc/systemd/system/docker.socket.d /srv/lab /etc/docker
cat > /etc/systemd/system/docker.service.d/lab.conf <<'EOF'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStartPre=/bin/sh -c 'for d in /sys/fs/cgroup /sys/fs/cgroup/*; do if mountpoint -q $d; then mount -o remount,bind,rw $d; fi; done'
EOF
cat > /etc/systemd/system/docker.socket.d/lab.conf <<'EOF'
[Socket]
ListenStream=/srv/lab/docker.sock
EOF
cat > /etc/ssh/sshd_config <<'EOF'
PermitRootLogin prohibit-password
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxSessions 50
MaxStartups 50:30:100
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
EOF
useradd --create-home --shell /bin/bash --no-user-group --gid users --groups sudo operator
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \\
  systemd-resolved.service systemd-networkd.service systemd-timesyncd.service getty.target console-getty.service; do
  ln -sf /dev/null /etc/systemd/system/$unit
done
`;

/** A machine of the swarm. bookworm brings Docker 20.10, trixie Docker 26, forky Docker 28. */
export function nodeRecipe(suite: Suite): RootfsRecipe {
  const recipe = { name: "node", suite, packages: nodePackages, finish: nodeFinish };
  if (suite === "bookworm") return recipe;
  if (suite === "trixie") return { ...recipe, packages: [...nodePackages, "docker-cli"] };
  // forky's systemd has no cgroup v1, which the host may have: its engine stands on trixie.
  const packages = nodePackages.filter((name) => name !== "docker.io");
  return { ...recipe, suite: "trixie", packages, later: { suite, packages: ["docker.io", "docker-cli"] } };
}

/** Ceph's S3 server; of trixie, because bookworm's (16) knows no trailers in chunked uploads. */
export function s3Recipe(): RootfsRecipe {
  const packages = ["ceph-mon", "ceph-osd", "ceph-common", "radosgw"];
  return { name: "s3", suite: "trixie", packages, finish: "set -e\nmkdir -p /srv/lab\n" };
}

/** Folder of the finished root file system; builds it (about a minute, over the network) when the cache has none. */
export async function ensureRootfs(recipe: RootfsRecipe, say: (line: string) => void): Promise<string> {
  const digest = createHash("sha256").update(JSON.stringify(recipe)).digest("hex").slice(0, 12);
  const folder = join(cacheFolder(), `${recipe.name}-${recipe.suite}-${digest}`);
  if (await touch(folder)) return folder;
  await mkdir(cacheFolder(), { recursive: true });
  return await withLock(folder, async () => {
    if (await touch(folder)) return folder;
    say(`building the ${recipe.name} root file system (Debian ${recipe.suite}); this happens once`);
    const startedMs = performance.now();
    const building = `${folder}.building`;
    await rm(building, { recursive: true, force: true });
    await mmdebstrap(recipe, building);
    await rename(building, folder);
    await removeUnused(new RegExp(`^${recipe.name}-${recipe.suite}-[0-9a-f]+$`), 14);
    say(`built the ${recipe.name} root file system in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
    return folder;
  });
}

async function mmdebstrap(recipe: RootfsRecipe, target: string): Promise<void> {
  const hostRelease = /^VERSION_CODENAME=(\w+)$/m.exec(await readFile("/etc/os-release", "utf8"))?.[1] ?? "";
  const { later } = recipe;
  const targets = await debianTargets();
  const sources = [recipe.suite, ...(later === undefined ? [] : [later.suite])].flatMap((suite) =>
    sourcesFor(suite, hostRelease, targets),
  );
  const packages = [...recipe.packages, ...(later?.packages ?? []).map((name) => `${name}/${later?.suite ?? ""}`)];
  await command(
    [
      ...["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", `--include=${packages.join(",")}`],
      ...(later === undefined ? [] : [`--aptopt=APT::Default-Release "${recipe.suite}"`]),
      // A mirror that stands still is signed all the same, and a lab's machine reaches nobody.
      '--aptopt=Acquire::Check-Valid-Until "false"',
      ...[
        "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
      ],
      ...["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"],
      ...[
        '--customize-hook=printf %s "$SKEP_LAB_FINISH" | chroot "$1" /bin/sh',
        '--customize-hook=rm -rf "$1"/var/cache/apt/*',
      ],
      ...[recipe.suite, target, ...sources],
    ],
    {
      // mmdebstrap hands its environment to the hook.
      env: { ...hostEnvironment(), SKEP_LAB_FINISH: recipe.finish },
      signal: AbortSignal.timeout(15 * 60_000),
    },
  );
}

function hostEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
