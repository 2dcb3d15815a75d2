// skep swarm restore: the state of a file onto this host, as a swarm of this one manager.
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { SkepError } from "../../../shared/errors.ts";
import { decodeMessage } from "../../../shared/raft/swarmkit/message-types.ts";
import { rebaseSwarm, type RebasedSwarm } from "../../../shared/raft/rebase.ts";
import { readWhole } from "../../../shared/raft/swarm-files.ts";
import { findLivingManagers, oldManagers } from "../../swarm-restore/fence.ts";
import { pathExists, type SwarmHost } from "../../swarm-restore/host.ts";
import { heldServicesOf, noteHeldServices } from "../../swarm-restore/held-services.ts";
import { isJournalOf, readJournal, wayBack } from "../../swarm-restore/journal.ts";
import { localHost } from "../../swarm-restore/local-host.ts";
import { restoreSwarm } from "../../swarm-restore/restore.ts";
import { agree } from "../confirm.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import type { Session } from "../session.ts";
import { callEngine } from "../standalone/engine-call.ts";
import { askEngineInfo, type EngineFacts } from "../standalone/engine.ts";
import { facts as factLines } from "../table.ts";
import { chosenToHold, type HoldOptions } from "./hold-choice.ts";
import { describeState, openProven, type ProvenFile, type SwarmFileOptions } from "./inspect.ts";

export interface SwarmRestoreOptions extends SwarmFileOptions, HoldOptions {
  input: string;
  advertiseAddr?: string;
  dataPathAddr?: string;
  dataRoot?: string;
  dockerSocket: string;
  locked?: boolean;
  oldIsDead?: boolean;
  replace?: boolean;
  yes?: boolean;
}

export async function restoreSwarmFile(session: Session, options: SwarmRestoreOptions): Promise<ExitCode> {
  const { output, signal } = session;
  if (process.getuid?.() !== 0) throw usage("a restore lays files into the engine's data root", "run it as root");
  const file = await openProven(session, options.input, options);
  const host = localHost((call, until) => callEngine(options.dockerSocket, call, until));
  const here = await askEngineInfo(options.dockerSocket, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    if (error instanceof SkepError) return null;
    throw error;
  });
  const dataRoot = options.dataRoot ?? here?.DockerRootDir ?? (await configuredDataRoot());
  const rebased = await rebase(file, options);
  const former = await readJournal(host, dataRoot, signal);
  const goesOn = former !== null && isJournalOf(former, rebased);
  if (!goesOn) await refuseLivingSwarm(host, here, dataRoot, options, signal);
  if (options.oldIsDead !== true) await fence(file, here, signal);

  const locked = options.locked === true;
  output.say(factLines(output.styleWords, describePlan(file, { ...rebased, locked }, dataRoot, here, goesOn)));
  if (!(await agree(session, options.yes === true, "Stop Docker on this host and restore the swarm?"))) {
    output.say("nothing was changed");
    return exitCodes.failed;
  }
  const id = newId();
  const now = Date.now();
  if (!goesOn) await noteHeldServices(host, dataRoot, heldServicesOf(rebased, now), id, signal);
  const report = await restoreSwarm({
    host,
    dataRoot,
    rebased,
    unlockKey: file.unlockKey,
    id,
    now,
    onStep: (step) => {
      output.say(step);
    },
    signal,
  });
  const { nodeId, addr } = rebased.state.member;
  const counts = Object.entries(report.compared);
  const held = rebased.held.map(({ name }) => name);
  const undone = rebased.undone.map(({ name }) => name);
  output.document({ nodeId, clusterId: rebased.state.clusterId, address: addr, ...report, held, undone });
  output.say(`the swarm is up at ${addr}; compared: ${counts.map(([kind, count]) => `${count} ${kind}`).join(", ")}`);
  if (report.kept.length > 0) {
    output.say(`what was there before is kept: ${report.kept.join(", ")}`);
    output.say(`to go back: ${wayBack(dataRoot, report.kept[0] ?? null, true)}`);
  }
  if (held.length > 0) {
    output.say(`held: ${held.map(format.visible).join(", ")}; skep swarm release starts them, all or by name`);
  }
  output.say("next: docker node ls; docker node rm --force what is gone for good; docker swarm join-token manager");
  return exitCodes.done;
}

async function rebase(file: ProvenFile, options: SwarmRestoreOptions): Promise<RebasedSwarm> {
  const certificate = async (name: string): Promise<Uint8Array> =>
    (await readWhole(file.files, `certificates/${name}`, 65_536)) ?? new Uint8Array();
  const { address, port } = advertiseAddress(file, options.advertiseAddr);
  if (options.locked === true && !file.state.proof.locked) {
    throw usage("the swarm of this file was not autolocked: there is no key to lock it with", "leave --locked out");
  }
  const hold = chosenToHold(file.state, options);
  return await rebaseSwarm(
    file.state,
    { node: await certificate("swarm-node.crt"), root: await certificate("swarm-root-ca.crt") },
    {
      advertiseAddress: address,
      ...(port === null ? {} : { port }),
      ...(options.dataPathAddr === undefined ? {} : { dataPathAddress: options.dataPathAddr }),
      unlockKey: file.unlockKey,
      // Unlocked it starts by itself, and an autolocked swarm locks it again at once.
      unlocked: options.locked !== true,
      ...(hold === undefined ? {} : { hold }),
      now: Date.now(),
    },
  );
}

/** IP or IP:PORT as given, else the old manager's, if this host has it. Throws SKEP_RAFT_ADDRESS. */
function advertiseAddress({ state }: ProvenFile, given: string | undefined): { address: string; port: number | null } {
  const old = oldManagers(state);
  const local = new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)));
  if (given === undefined) {
    const here = old.filter(({ host }) => local.has(host));
    const [only] = here;
    if (only !== undefined && here.length === 1) return { address: only.host, port: only.port };
    throw new SkepError({
      code: "SKEP_RAFT_ADDRESS",
      message: "this host has none of the old managers' addresses, or several",
      permanent: true,
      hint: "give the IP address at which the other nodes will reach it: --advertise-addr 10.0.0.11",
    });
  }
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+|[0-9a-fA-F:]+))(?::(\d{1,5}))?$/.exec(given) ?? [];
  return { address: bracketed ?? plain ?? given, port: port === undefined ? null : Number(port) };
}

/** `data-root` of the engine's own settings, else Docker's default. */
async function configuredDataRoot(): Promise<string> {
  try {
    const settings = JSON.parse(await readFile("/etc/docker/daemon.json", "utf8")) as Record<string, unknown>;
    const root = settings["data-root"];
    if (typeof root === "string" && root.startsWith("/")) return root;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
      throw usage(
        "/etc/docker/daemon.json cannot be read",
        "say where the engine's data is: --data-root /var/lib/docker",
      );
    }
  }
  return "/var/lib/docker";
}

/** Throws SKEP_SWARM_RESTORE_IN_SWARM unless --replace was given. */
async function refuseLivingSwarm(
  host: SwarmHost,
  here: EngineFacts | null,
  dataRoot: string,
  { replace }: SwarmRestoreOptions,
  signal: AbortSignal,
): Promise<void> {
  const isIn =
    here === null
      ? await pathExists(host, `${dataRoot}/swarm/docker-state.json`, signal)
      : here.Swarm.LocalNodeState !== "inactive";
  if (!isIn || replace === true) return;
  const which = here?.Swarm.Cluster?.ID ?? "";
  throw new SkepError({
    code: "SKEP_SWARM_RESTORE_IN_SWARM",
    message: `this host is in a swarm${which === "" ? "" : ` (${which})`}: ${here?.Swarm.LocalNodeState ?? "its engine does not run"}`,
    permanent: true,
    hint: "--replace takes it out of that swarm; what it has there is moved aside and kept",
  });
}

/** Throws SKEP_SWARM_RESTORE_OLD_LIVES. */
async function fence({ state }: ProvenFile, here: EngineFacts | null, signal: AbortSignal): Promise<void> {
  const living = await findLivingManagers(oldManagers(state), {
    clusterId: state.clusterId,
    replacedNodeId: here === null || here.Swarm.NodeID === "" ? null : here.Swarm.NodeID,
    signal,
  });
  const [first] = living;
  if (first === undefined) return;
  const named = living.map(({ hostname, host, port }) => `${hostname} at ${host}:${port}`).join(", ");
  throw new SkepError({
    code: "SKEP_SWARM_RESTORE_OLD_LIVES",
    message: `the old swarm lives: ${named} answers with its certificate`,
    permanent: true,
    hint: "stop it there for good (docker swarm leave --force), or say that it is no longer the swarm: --old-is-dead",
  });
}

function describePlan(
  file: ProvenFile,
  { state, held, undone, certificateReissued, locked }: RebasedSwarm & { locked: boolean },
  dataRoot: string,
  here: EngineFacts | null,
  goesOn: boolean,
): [string, string][] {
  let starting = 0;
  const heldIds = new Set(held.map(({ id }) => id));
  for (const [id, bytes] of state.store.objects.service) {
    if (heldIds.has(id)) continue;
    const { spec } = decodeMessage("Service", bytes);
    if (spec?.mode.case !== "replicated" || spec.mode.value.replicas > 0n) starting++;
  }
  const others = state.store.objects.node.size - 1;
  return [
    ...describeState(file.facts, file.state),
    ["", ""],
    ["restore", goesOn ? "goes on where it was cut off" : `to ${dataRoot}/swarm on this host`],
    ["address", state.member.addr],
    [
      "engine",
      here === null ? "it does not answer" : `Docker ${format.visible(here.ServerVersion)}; all its containers stop`,
    ],
    ...(file.state.proof.locked ? ([["key file", describeLock(locked)]] as [string, string][]) : []),
    ["there now", `${dataRoot}/swarm is moved aside beside it, and kept`],
    ["services", `${format.plural(starting, "service")} may start at once, with whatever volumes this host has`],
    ...(undone.length === 0 ? [] : ([["undone", describeUndone(undone)]] as [string, string][])),
    ...(held.length === 0
      ? []
      : ([["held", `${format.plural(held.length, "service")}, until skep swarm release`]] as [string, string][])),
    ["other nodes", `${others} are listed as down until they come back or are removed`],
    ...(certificateReissued
      ? ([["certificate", "ended, or ends within the hour; it is made anew"]] as [string, string][])
      : []),
  ];
}

function describeLock(locked: boolean): string {
  return locked
    ? "laid down locked; the engine is unlocked once it has started"
    : "laid down in clear, so that the engine starts by itself and locks it again at once; --locked keeps it locked";
}

function describeUndone(undone: RebasedSwarm["undone"]): string {
  const names = undone.map(({ name }) => format.visible(name)).join(", ");
  return `Skep held ${names} when the copy was taken; in the new swarm it does not`;
}

function newId(): string {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: 12 }, () => letters[randomInt(letters.length)]).join("");
}

function usage(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}
