import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A fresh folder; its remover. */
export function makeScratch(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "skep-repository-"));
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}
