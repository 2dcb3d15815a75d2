// An argument list as one string that a POSIX shell (sh, bash, dash, zsh, ksh) splits into exactly that list: SSH carries
// a command as text, which the user's login shell reads. The only place where such a text is made.
import { SkepError } from "../../shared/errors.ts";

/** Throws SKEP_SSH_ARGUMENT for what no argument can carry: a NUL, or text that is not well-formed. */
export function quoteArguments(argv: readonly string[]): string {
  return argv.map(quote).join(" ");
}

function quote(argument: string): string {
  if (argument.includes("\0") || !argument.isWellFormed()) {
    throw new SkepError({
      code: "SKEP_SSH_ARGUMENT",
      message: `${JSON.stringify(argument.slice(0, 100))} can't be an argument of a command on another machine`,
      permanent: true,
    });
  }
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}
