// Where this machine gets its Debian packages from. The lab asks the same mirrors and writes down none.
import { z } from "zod";
import { command } from "./command.ts";
import { SkepError } from "../../shared/errors.ts";

export const suites = ["bookworm", "trixie", "forky"] as const;
export type Suite = (typeof suites)[number];

export interface AptTarget {
  uri: string;
  /** "bookworm", "bookworm-updates", "bookworm-security", … */
  release: string;
  component: string;
}

const uriSchema = z
  .string()
  .max(2048)
  .regex(/^(https?|file|copy|ftp|mirror\+https?|tor\+https?):\/[^\s\]]*$/);

/** Debian's own archives among the machine's apt sources, as apt resolves them from all formats of its files. */
export async function debianTargets(): Promise<AptTarget[]> {
  const format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
  const text = await command(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]);
  return parseTargets(text);
}

/** One target a line, `uri|release|component`; lines of foreign archives (no main component, other releases) are left out. */
export function parseTargets(text: string): AptTarget[] {
  return text.split("\n").flatMap((line) => {
    const [uri, release, component] = line.split("|");
    if (uri === undefined || release === undefined || component !== "main" || !uriSchema.safeParse(uri).success)
      return [];
    if (!/^[a-z]+(-updates|-security)?$/.test(release)) return [];
    return [{ uri, release, component }];
  });
}

/**
 * sources.list lines for `suite`, from the mirrors that serve `hostRelease` (VERSION_CODENAME of the machine).
 * Throws SKEP_LAB_APT_SOURCES when the machine has no source for its own release.
 */
export function sourcesFor(suite: Suite, hostRelease: string, targets: AptTarget[]): string[] {
  const lines: string[] = [];
  for (const suffix of ["", "-updates", "-security"]) {
    const found = targets.find((target) => target.release === `${hostRelease}${suffix}`);
    if (found !== undefined) lines.push(`deb ${found.uri} ${suite}${suffix} main`);
    else if (suffix === "") {
      throw new SkepError({
        code: "SKEP_LAB_APT_SOURCES",
        message: `apt has no source for ${hostRelease} main on this machine`,
        permanent: true,
        hint: "look at /etc/apt/sources.list and /etc/apt/sources.list.d, then run apt-get update",
      });
    }
  }
  return lines;
}
