// Watches what the controller does, until it is done. The controller may move to another node meanwhile: a while
// without an answer is no end.
import { setTimeout as wait } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";
import type { Run } from "../../shared/repository/run.ts";
import { restoreSchema, runAnswerSchema, type Restore } from "../api/schemas.ts";
import type { ApiCall, ApiClient } from "./api-client.ts";
import { describeProgress, makeBoard } from "./board.ts";
import { boardOf, boardOfEnded } from "./run-report.ts";
import type { Session } from "./session.ts";

const askEveryMs = 1_000;
/** Swarm starts a lost controller on another manager within this, and then some. */
const patienceMs = 5 * 60_000;

/** The run once it has ended. Throws SKEP_API_UNREACHABLE after 5 minutes without an answer, SKEP_CLI_INTERRUPTED. */
export async function followRun(session: Session, api: ApiClient, runId: string): Promise<Run> {
  const board = makeBoard(session.output);
  try {
    const call = { path: `/v1/runs/${runId}`, schema: runAnswerSchema };
    const hint = `the run goes on in the swarm; \`skep show ${runId}\` tells how far it is`;
    return await poll(session, api, call, hint, (answer) => {
      const { title, lines } = "run" in answer ? boardOfEnded(answer.run) : boardOf(answer.progress);
      board.update(title, lines);
      return "run" in answer ? answer.run : null;
    });
  } finally {
    board.close();
  }
}

/** The restore once it is in none of these states any more. */
export async function followRestore(
  session: Session,
  api: ApiClient,
  restoreId: string,
  under: { title: string; states: readonly Restore["state"][] },
): Promise<Restore> {
  const board = makeBoard(session.output);
  try {
    const call = { path: `/v1/restores/${restoreId}`, schema: restoreSchema };
    const hint = `it goes on in the swarm; \`skep restore list\` tells how far it is`;
    return await poll(session, api, call, hint, (restore) => {
      const ended = !under.states.includes(restore.state);
      const { detail, share } =
        ended || restore.progress === undefined ? { detail: "", share: null } : describeProgress(restore.progress);
      const state = !ended ? "running" : restore.error === undefined ? "done" : "failed";
      board.update(under.title, [{ id: restoreId, label: `volume ${restore.targetName}`, state, detail, share }]);
      return ended ? restore : null;
    });
  } finally {
    board.close();
  }
}

async function poll<Answer, Result>(
  { output, signal }: Session,
  api: ApiClient,
  call: ApiCall<Answer>,
  interruptedHint: string,
  look: (answer: Answer) => Result | null,
): Promise<Result> {
  let heardAt = Date.now();
  let silent = false;
  for (;;) {
    try {
      const answer = await api.call(call, signal);
      if (silent) output.say("the controller answers again");
      silent = false;
      heardAt = Date.now();
      const result = look(answer);
      if (result !== null) return result;
      await wait(askEveryMs, undefined, { signal });
    } catch (error) {
      if (signal.aborted) throw interrupted(interruptedHint);
      const unreachable = error instanceof SkepError && error.code === "SKEP_API_UNREACHABLE";
      if (!unreachable || Date.now() - heardAt > patienceMs) throw error;
      if (!silent) output.say(`${error.message}; waiting for it`);
      silent = true;
      await wait(askEveryMs);
    }
  }
}

function interrupted(hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_INTERRUPTED", message: "interrupted by a signal", permanent: true, hint });
}
