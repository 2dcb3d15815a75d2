// What a killed standalone run left quiet, in words.
import type { Undone } from "../../../shared/contract/keeper.ts";
import * as format from "../format.ts";
import type { Output } from "../output.ts";

/** Says nothing where nothing was left. */
export function tellUndone({ say, warn }: Output, { wentOn, released, removed, faults }: Undone): void {
  const what = "a standalone backup that was killed had left";
  for (const name of wentOn) say(`container ${format.visible(name)} goes on: ${what} it paused or stopped`);
  for (const name of released) say(`service ${format.visible(name)} runs again: ${what} it stopped`);
  for (const place of removed) say(`${format.visible(place)} is removed: ${what} it behind`);
  for (const { code, message, hint } of faults) {
    warn(`${code}: ${format.visible(message)}${hint === undefined ? "" : `; ${format.visible(hint)}`}`);
  }
}
