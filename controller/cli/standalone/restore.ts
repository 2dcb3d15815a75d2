// A restore on this machine without a controller: the keys go to the job on its standard input.
import { randomInt } from "node:crypto";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import { SkepError } from "../../../shared/errors.ts";
import { collectRestoreKeys } from "../../../shared/repository/open/file-keys.ts";
import { describeProgress, makeBoard } from "../board.ts";
import type { RestoresHereDocument } from "../restore-documents.ts";
import { withCatalogue, withOperator } from "../catalogue-access.ts";
import type { OpenedOperator } from "../operator-snapshot.ts";
import type { EndOptions, RestoreOptions } from "../restore-options.ts";
import { agree } from "../confirm.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { endQuestion, filesOf, snapshotOf } from "../restore-in-swarm.ts";
import { loadOf } from "../../restore-order.ts";
import {
  planDocument,
  refuseWhileUsed,
  renderPlan,
  restoreQuestion,
  sourceBytesOf,
  type ChosenOfSnapshot,
  type Snapshot,
  type VolumeAddress,
} from "../restore-plan.ts";
import { reportEnd, reportRestore } from "../restore-report.ts";
import type { Session } from "../session.ts";
import { table } from "../table.ts";
import type { LocalNode } from "./engine.ts";
import { openHost, type HostOptions } from "./host.ts";

export async function restoreHere(
  session: Session,
  options: RestoreOptions,
  address: VolumeAddress,
): Promise<ExitCode> {
  return await withOperator(session, options, async (opened) => {
    const snapshot = await snapshotOf(session, opened, options, address);
    return await restoreSnapshotHere(session, options, { opened, snapshot, chosen: null });
  });
}

/** Of the volume, or what is chosen of it, as --as says. `toNode`: must be this machine. Throws SKEP_CLI_NODE_UNKNOWN. */
export async function restoreSnapshotHere(
  session: Session,
  options: Pick<RestoreOptions, "as" | "toNode" | "loadInto" | "yes" | keyof HostOptions>,
  given: { opened: OpenedOperator; snapshot: Snapshot; chosen: ChosenOfSnapshot | null },
): Promise<ExitCode> {
  const { output, signal } = session;
  const { opened, snapshot, chosen } = given;
  const { part } = snapshot;
  const host = await openHost(session, options, opened.access, opened.repository, opened.repositoryKey);
  const { nodeId, hostname } = host.node;
  refuseOtherNode(host.node, options.toNode);
  const restoreId = newRestoreId();
  const targetName = options.as ?? part.volume.name;
  const wish = { targetName, stop: false, loadInto: options.loadInto, isOfFiles: chosen !== null };
  const load = loadOf(part, part.volume.name, wish);
  const files = chosen === null ? null : filesOf(chosen);
  const sourceBytes = files?.sourceBytes ?? sourceBytesOf(snapshot);
  const shared = {
    ...{ restoreId, volume: part.volume, targetName, sourceBytes },
    ...(files !== null && { files: { paths: files.paths, existing: files.existing } }),
  };
  const prepared = await host.work("restore-prepare", {
    kind: "restore-prepare",
    ...shared,
    ...(load === null ? {} : { load }),
  });
  const plan = planDocument(snapshot, { nodeId, hostname, targetName }, prepared, { stop: false, load, chosen });
  output.say(renderPlan(output.styleWords, plan, Date.now()));
  if (chosen === null) refuseWhileUsed(prepared, targetName, null);
  if (!(await agree(session, options.yes ?? false, restoreQuestion(plan)))) {
    return reportRestore(output, restoreId, plan, null, "");
  }
  const identityKeys = await collectRestoreKeys(opened.store, opened.operator, part, signal);
  const { manifest, refs } = part;
  if (manifest === undefined || refs === undefined) throw new TypeError("a snapshot without manifest or refs");
  const source = { manifest, refs, writerId: part.nodeId, sealedKeys: "" };
  const what = load === null ? `volume ${targetName}` : `dump of volume ${load.volume}`;
  const result = await shown(session, restoreId, what, async (onProgress) => {
    const tools = { identityKeys, onProgress };
    return load === null
      ? await host.work("restore-volume", { kind: "restore-volume", ...shared, ...source }, tools)
      : await host.work(
          "restore-load",
          {
            ...{ kind: "restore-load", restoreId, sourceBytes, ...source },
            command: { ...load, container: prepared.loadsIn ?? load.container },
          },
          tools,
        );
  });
  return reportRestore(output, restoreId, plan, result, " --standalone");
}

function refuseOtherNode({ nodeId, hostname }: LocalNode, wanted: string | undefined): void {
  if (wanted === undefined || wanted === nodeId || wanted === hostname) return;
  throw new SkepError({
    code: "SKEP_CLI_NODE_UNKNOWN",
    message: `this machine is ${hostname} (${nodeId}), not ${wanted}`,
    permanent: true,
    hint: `--standalone works on this machine alone: run it on ${wanted}, or write ${hostname}/VOLUME`,
  });
}

/** As restoreIdSchema: twelve of digits and small letters. */
function newRestoreId(): string {
  return Array.from({ length: 12 }, () => randomInt(36).toString(36)).join("");
}

/** Shows on a board how far `act` is with `label`. */
async function shown<T>(
  { output }: Session,
  restoreId: string,
  label: string,
  act: (onProgress: (progress: JobProgress) => void) => Promise<T>,
): Promise<T> {
  const board = makeBoard(output);
  const show = (state: "running" | "done" | "failed", detail: string, share: number | null): void => {
    board.update(`Restore ${restoreId}`, [{ id: restoreId, label, state, detail, share }]);
  };
  try {
    show("running", "", null);
    const result = await act((progress) => {
      const { detail, share } = describeProgress(progress);
      show("running", detail, share);
    });
    show("done", "", null);
    return result;
  } catch (error) {
    show("failed", "", null);
    throw error;
  } finally {
    board.close();
  }
}

/** Restores on this machine that can still be undone. */
export async function listRestoresHere(session: Session, options: EndOptions): Promise<ExitCode> {
  const { output } = session;
  return await withCatalogue(session, options, async ({ access, repository, repositoryKey }) => {
    const host = await openHost(session, options, access, repository, repositoryKey);
    const { restores } = await host.work("restore-list", { kind: "restore-list" });
    const document: RestoresHereDocument = {
      restores: restores.map(({ restoreId, volume }) => ({ restoreId, state: "done", targetName: volume })),
    };
    output.document(document);
    if (restores.length === 0) output.say("no restore is in place here whose former content is kept");
    else {
      const columns = [
        { head: "ID", cell: ({ restoreId }: (typeof restores)[number]) => restoreId },
        { head: "VOLUME", cell: ({ volume }: (typeof restores)[number]) => format.visible(volume) },
      ];
      output.print(table(output, columns, restores));
    }
    return exitCodes.done;
  });
}

export async function endRestoreHere(
  session: Session,
  options: EndOptions,
  restoreId: string,
  what: "undo" | "discard",
): Promise<ExitCode> {
  const { output } = session;
  return await withCatalogue(session, options, async ({ access, repository, repositoryKey }) => {
    const host = await openHost(session, options, access, repository, repositoryKey);
    if (!(await agree(session, options.yes ?? false, endQuestion(what, `the volume of restore ${restoreId}`)))) {
      output.say("nothing was changed");
      return exitCodes.done;
    }
    if (what === "undo") {
      const { volume } = await host.work("restore-undo", { kind: "restore-undo", restoreId });
      return reportEnd(output, { restoreId, volume, state: "undone", freedBytes: null });
    }
    const { volume, freedBytes } = await host.work("restore-discard", { kind: "restore-discard", restoreId });
    return reportEnd(output, { restoreId, volume, state: "discarded", freedBytes });
  });
}
