// One thing that a check found.
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
