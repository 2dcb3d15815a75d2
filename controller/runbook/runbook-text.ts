// The runbook of one run: how this very cluster comes back by hand, with docker, age, zstd, tar, curl and Python. Its
// fenced commands run as they stand; what the operator brings (identity, credentials) lies in files that it names. A test
// carries them out. Names come from the cluster: each is quoted for the shell, or shown with nothing that ends a line.
import { displayText } from "./display-text.ts";
import type { NewRun } from "../../shared/repository/run-chain.ts";
import type { ImageFacts, Part, RunNode, StoredObject } from "../../shared/repository/run.ts";
import { layout } from "../../shared/repository/layout.ts";
import { byHandPaths } from "../../shared/raft/archive-layout.ts";
import { loadedName, parseReference, shortName } from "../../shared/image-reference.ts";
import { quoteArguments } from "../recovery/quote-arguments.ts";
import { fetchScript, type ReadingPlace } from "./fetch-script.ts";

/** Where everything is done on a machine, for root alone. */
export const workFolder = "/root/skep-by-hand";
export const readerName = "restore-by-hand.py";

export interface RunbookFacts {
  run: NewRun;
  place: ReadingPlace;
  repositoryId: string;
  epoch: { number: number; keyVersion: number };
  /** Key of the archive that holds this very runbook. */
  ownKey: string;
  /** Of each volume's part: the list of objects in that archive; absent where they were too many to list. */
  lists: ReadonlyMap<Part, string>;
}

export function renderRunbook(facts: RunbookFacts): string {
  const { run } = facts;
  const raft = run.parts.find(({ kind, status }) => kind === "raft" && status !== "failed");
  const sections = [head(facts), prepare(facts), ...volumeSections(facts), ...imageSections(facts)];
  if (raft?.archive !== undefined) sections.push(swarmSection(raft, raft.archive, run.nodes));
  sections.push(afterwards(run));
  return `${sections.join("\n\n")}\n`;
}

/** Longer than any run of backticks within, which a label may hold. */
function fence(...lines: string[]): string {
  const body = lines.join("\n");
  const longest = Math.max(2, ...[...body.matchAll(/^`+/gm)].map(([run]) => run.length));
  const mark = "`".repeat(longest + 1);
  return [`${mark}sh`, `cd ${workFolder}`, body, mark].join("\n");
}

function head({ run, repositoryId }: RunbookFacts): string {
  const rows = run.nodes.map(
    ({ hostname, role, address, id }) => `| ${displayText(hostname)} | ${role} | ${displayText(address)} | ${id} |`,
  );
  const failed = run.parts.filter(({ status }) => status !== "done");
  return [
    `# How this cluster comes back by hand`,
    `Run ${run.id} of ${run.startedAt}, repository ${repositoryId}${run.clusterId === null ? "" : `, swarm ${run.clusterId}`}. Written by Skep ${run.skepVersion} when the run was taken.`,
    "With Skep at hand `skep recover` does all of this, checks it, and goes on where it was cut off. This is for when it is not. Needed: **docker, age, zstd, tar, curl and python3** on each machine, your identity file, and credentials that may read the store.",
    ...(rows.length === 0 ? [] : [["| node | role | address | id |", "| --- | --- | --- | --- |", ...rows].join("\n")]),
    ...(failed.length === 0
      ? []
      : [
          `**Not whole in this run:** ${failed.map(({ kind, name, status }) => `${kind} ${displayText(name)} (${status})`).join(", ")}. Look for them in an earlier run.`,
        ]),
  ].join("\n\n");
}

function prepare({ place, epoch, ownKey }: RunbookFacts): string {
  const epochKey = layout.epochKey(epoch.number, epoch.keyVersion);
  return [
    "## 1. On every machine: the way to the store, and the key",
    `As root. Put into \`${workFolder}\` (make it first: \`mkdir -m 700 ${workFolder}\`): \`identity.txt\`, your identity file${place.credentialsHint}. Nothing else of yours is needed. Take the folder away at the end.`,
    fence(
      "umask 077",
      fetchScript(place),
      "chmod 700 fetch",
      `./fetch ${epochKey}`,
      `age -d -i identity.txt store/${epochKey} > epoch.txt`,
      `./fetch ${ownKey}`,
      `age -d -i epoch.txt store/${ownKey} | zstd -d | tar x`,
    ),
    `If operators were added or removed since, that key file has another number at its end: the highest of \`${epochKey.replace(/\d{10}\.age$/, "")}…\` counts. The last line unpacked this text, the reader \`${readerName}\` and lists of what each volume needs. Where the repository was compacted after this run, the lists name packs that are gone: copy all of \`packs/\` into \`store/\`, and leave the list out at the end of the reader's command.`,
  ].join("\n\n");
}

function volumeSections({ run, lists }: RunbookFacts): string[] {
  const parts = run.parts.filter(
    ({ kind, manifest }) => (kind === "volume" || kind === "dump") && manifest !== undefined,
  );
  const nodes = new Map<string, Part[]>();
  for (const part of parts) nodes.set(part.hostname, [...(nodes.get(part.hostname) ?? []), part]);
  return [...nodes].map(([hostname, own]) =>
    [
      `## 2. Volumes of ${displayText(hostname)}, on the machine that takes its place`,
      "Before the swarm is there: its services would start on empty volumes.",
      ...own.map((part) => volumeText(part, lists.get(part))),
    ].join("\n\n"),
  );
}

/** How a part with a manifest is fetched and read. */
function readingOf(
  { key }: StoredObject,
  list: string | undefined,
): { all: string; fetched: string[]; read: (target: string) => string } {
  const known = ["python3", readerName, "store", "epoch.txt", `store/${key}`];
  if (list !== undefined) {
    const read = (target: string): string => [...known, target, list].join(" ");
    return { all: "", fetched: [`xargs -n 50 ./fetch < ${list}`], read };
  }
  const all = "Too many packs to list: copy all of `packs/` into `store/` first, with any S3 tool.";
  return { all, fetched: [`./fetch ${key}`], read: (target) => [...known, target].join(" ") };
}

function imageSections({ run, lists }: RunbookFacts): string[] {
  const texts = run.parts.flatMap((part) => {
    const { kind, image, manifest } = part;
    return kind === "image" && image && manifest ? [imageText(part.name, image, manifest, lists.get(part))] : [];
  });
  if (texts.length === 0) return [];
  return [
    [
      "## 2. Images, on every machine that runs them",
      "Those alone that no registry gives any more. A load gives an image no registry's digest: where services name it by one it gets another name, and once the swarm is there `docker service update --image` gives them that name.",
      ...texts,
    ].join("\n\n"),
  ];
}

function imageText(name: string, image: ImageFacts, manifest: StoredObject, list: string | undefined): string {
  const { all, fetched, read } = readingOf(manifest, list);
  const folder = `image-${manifest.key.slice(-36, -4)}`;
  const tags = new Set<string>();
  const others: string[] = [];
  for (const former of image.names) {
    const reference = parseReference(former);
    if (reference === null) continue;
    const tag = reference.digest === null ? shortName(reference) : loadedName(reference);
    tags.add(tag);
    if (reference.digest !== null) others.push(`- ${displayText(former)} becomes ${displayText(tag)}`);
  }
  return [
    `### image ${displayText(name)} (${displayText(image.architecture)})`,
    ...[all, others.join("\n")].filter((text) => text !== ""),
    fence(
      ...fetched,
      read(folder),
      // It says `Loaded image ID: sha256:…`.
      `id=$(docker load -q -i ${folder}/image.tar | sed 's/^.*: //')`,
      ...[...tags].map((tag) => `docker tag "$id" ${quoteArguments([tag])}`),
      `rm -r ${folder}`,
    ),
  ].join("\n\n");
}

function volumeText(part: Part, list: string | undefined): string {
  const { volume, manifest, totals, kind } = part;
  if (volume === undefined || manifest === undefined) return "";
  const size = totals === undefined ? "" : ` (${totals.sourceBytes} bytes, ${totals.files} files)`;
  const title = `### ${kind} ${displayText(part.name)}${size}`;
  const { all, fetched, read } = readingOf(manifest, list);
  if (kind === "dump") {
    const folder = `dump-${manifest.key.slice(-36, -4)}`;
    return [
      title,
      all,
      "What a database's own command wrote; give it back to that command.",
      fence(...fetched, read(folder)),
    ]
      .filter((text) => text !== "")
      .join("\n\n");
  }
  const foreign = volume.driver === "local" ? "" : `Of driver ${displayText(volume.driver)}, which must be there.`;
  const redacted = Object.values(volume.options).includes("[redacted]")
    ? "An option that looked like a password was not kept: put it in place of [redacted]."
    : "";
  const create = [
    ...["docker", "volume", "create", "--driver", volume.driver],
    ...Object.entries(volume.labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
    ...Object.entries(volume.options).flatMap(([key, value]) => ["--opt", `${key}=${value}`]),
    volume.name,
  ];
  const inspect = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", volume.name];
  return [
    title,
    ...[foreign, redacted, all].filter((text) => text !== ""),
    fence(...fetched, quoteArguments(create), read(`"$(${quoteArguments(inspect)})"`)),
  ].join("\n\n");
}

function swarmSection(raft: Part, archive: readonly StoredObject[], nodes: readonly RunNode[]): string {
  const node = nodes.find(({ id }) => id === raft.nodeId);
  const address = node?.address ?? "";
  const keys = archive.map(({ key }) => key);
  const own =
    address === ""
      ? []
      : [
          `The swarm's state knows its manager by the address **${displayText(address)}**. Unless this machine has that address it gets it as a second one; the other machines must reach it there. (With Skep it can be another.)`,
          fence(
            `ip -o address show | grep -qwF ${quoteArguments([address])} || ip address add ${quoteArguments([`${address}/${address.includes(":") ? 128 : 32}`])} dev lo`,
          ),
        ];
  return [
    `## 3. The swarm, on one machine: that which takes the place of ${displayText(raft.hostname)}`,
    "**First make sure that every manager of the old swarm is off for good.** Two swarms of one identity would fight for the workers.",
    ...own,
    "The state as it was copied, proven when it was taken. Its key file is replaced by one in clear, so that an autolocked swarm starts too; it locks itself again with the same unlock key, which is in `raft/unlock-key`.",
    fence(
      "umask 077",
      `./fetch ${keys.join(" ")}`,
      "mkdir -p raft",
      `cat ${keys.map((key) => `store/${key}`).join(" ")} | age -d -i epoch.txt | zstd -d | tar x -C raft`,
      `root=$(docker info --format '{{.DockerRootDir}}')`,
      `test "$(docker info --format '{{.Swarm.LocalNodeState}}')" = inactive`,
      "systemctl stop docker.socket docker.service",
      'if [ -e "$root/swarm" ]; then mv -T "$root/swarm" "$root/swarm.before-$(date +%s)"; fi',
      'mkdir -m 700 "$root/swarm"',
      'cp -R raft/swarm/certificates raft/swarm/raft "$root/swarm/"',
      `cp raft/${byHandPaths.keyFile} "$root/swarm/certificates/swarm-node.key"`,
      'chown -R 0:0 "$root/swarm"',
      "sync",
      "systemctl start docker.service",
    ),
    "The services start with the next command, on whatever volumes are there:",
    fence(
      `curl -fsS --max-time 120 --unix-socket /var/run/docker.sock -H 'Content-Type: application/json' -d @raft/${byHandPaths.initBody} http://docker/swarm/init`,
      "docker node ls",
    ),
  ].join("\n\n");
}

function afterwards({ nodes, parts }: NewRun): string {
  const raft = parts.find(({ kind }) => kind === "raft");
  const dead = nodes.filter(({ id }) => id !== raft?.nodeId);
  const isSwarm = raft !== undefined;
  return [
    "## 4. Afterwards",
    ...(isSwarm && dead.length > 0
      ? [
          "The other nodes of the old swarm are dead, and are struck off; then other machines join anew (`docker swarm join-token manager`, `… worker`), and get their labels back by `docker node update`. Constraints on a node's id or name are to be changed where those are others now.",
          fence(...dead.map(({ id }) => `docker node rm --force ${quoteArguments([id])}`)),
        ]
      : []),
    ...(isSwarm
      ? [
          "Whoever has a disk of the old machines has their keys: `docker swarm ca --rotate`, `docker swarm join-token --rotate worker`, `… manager`, and with autolock `docker swarm unlock-key --rotate`.",
          "Skep's own controller of that time may write to the repository again only if no recovery took the repository over since.",
        ]
      : []),
    `Take what lies open away: \`rm -rf ${workFolder}\`.`,
  ].join("\n\n");
}
