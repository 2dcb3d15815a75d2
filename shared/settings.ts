// The environment, read once at entry into a frozen typed object. All faults are reported together, each with
// name, expected shape and an example. A setting that is secret is only ever the name of a file (`…_FILE`).
import { readFileSync } from "node:fs";
import { SkepError } from "./errors.ts";

export interface Setting {
  /** What it is, for the fault's text. */
  expected: string;
  example: string;
  /** Used where the variable is unset; without it the setting is required. */
  fallback?: string;
  pattern: RegExp;
  /** The variable names a file; the setting is that file's text without the last line end. */
  file?: true;
}

export type Settings<S extends Record<string, Setting>> = Readonly<Record<keyof S, string>>;

/** Throws SKEP_SETTINGS_INVALID, which lists every fault and never a value. */
export function readSettings<S extends Record<string, Setting>>(
  settings: S,
  environment: Readonly<Record<string, string | undefined>>,
): Settings<S> {
  const faults: string[] = [];
  const values: Record<string, string> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const given = environment[name] ?? setting.fallback;
    const fault = (why: string): void => {
      faults.push(`${name} ${why}: expected ${setting.expected}, e.g. ${name}=${setting.example}`);
    };
    if (given === undefined) {
      fault("is not set");
      continue;
    }
    const value = setting.file ? readSecretFile(given) : given;
    if (value === null) fault("names a file that cannot be read");
    else if (!setting.pattern.test(value)) fault(setting.file ? "names a file of another shape" : "has another shape");
    else values[name] = value;
  }
  if (faults.length > 0) {
    throw new SkepError({
      code: "SKEP_SETTINGS_INVALID",
      message: `the environment is not complete:\n  ${faults.join("\n  ")}`,
      permanent: true,
    });
  }
  return Object.freeze(values) as Settings<S>;
}

function readSecretFile(path: string): string | null {
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch {
    return null;
  }
}
