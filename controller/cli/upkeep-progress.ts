// How far a check, a prune or a compaction is: one line for each phase, with what was done so far.
import { makeBoard, type BoardLine } from "./board.ts";
import type { Output } from "./output.ts";

/** Drawn at most so often: some phases tell of thousands a second. */
const drawEveryMs = 100;

export interface UpkeepProgress<Phase extends string> {
  update: (phase: Phase, done: number) => void;
  close: () => void;
}

/** `labels`: of the phases, in their order, said after the number. */
export function makeUpkeepProgress<Phase extends string>(
  output: Output,
  title: string,
  labels: Record<Phase, string>,
): UpkeepProgress<Phase> {
  const board = makeBoard(output);
  const lines = new Map<string, BoardLine>();
  let drawnAt = 0;
  let running: BoardLine | null = null;
  const draw = (): void => {
    board.update(title, [...lines.values()]);
  };
  return {
    update: (phase, done) => {
      const isNew = running?.id !== phase;
      if (isNew && running !== null) lines.set(running.id, { ...running, state: "done" });
      running = { id: phase, label: labels[phase], state: "running", detail: String(done), share: null };
      lines.set(phase, running);
      const now = performance.now();
      if (!isNew && now - drawnAt < drawEveryMs) return;
      drawnAt = now;
      draw();
    },
    close: () => {
      if (running !== null) lines.set(running.id, { ...running, state: "done" });
      if (lines.size > 0) draw();
      board.close();
    },
  };
}
