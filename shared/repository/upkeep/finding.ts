// What a check found, and how much of it is named.
import type { ErrorCode } from "../../errors.ts";

export interface Finding {
  /** `error`: something cannot be restored, or somebody tampered. `warning`: costs time or space only. */
  level: "error" | "warning";
  code: ErrorCode;
  /** Null where it is no single object's. */
  key: string | null;
  message: string;
  /** `RUN:NODE/VOLUME`, or `RUN` alone where the whole of it is meant. */
  hurts: string[];
}

/** So that what somebody lays under one prefix in thousands hides nothing of what else was found. */
const maxFindingsOfKind = 500;

export class Findings {
  /** At most maxFindingsOfKind of one kind of object, by the first part of its key. */
  readonly named: Finding[] = [];
  leftOut = 0;
  readonly #ofKind = new Map<string, number>();

  /** Null where there are too many of its kind already. */
  add(level: Finding["level"], code: ErrorCode, key: string | null, message: string, hurts: string[]): Finding | null {
    const kind = key?.split("/")[0] ?? "";
    const before = this.#ofKind.get(kind) ?? 0;
    if (before >= maxFindingsOfKind) {
      this.leftOut++;
      return null;
    }
    this.#ofKind.set(kind, before + 1);
    const finding = { level, code, key, message, hurts };
    this.named.push(finding);
    return finding;
  }
}
