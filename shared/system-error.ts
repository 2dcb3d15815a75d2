// Names of the operating system's errors, also of those that Node has no name for: what a file system with broken
// checksums answers, for example.
import { getSystemErrorName } from "node:util";

/** Linux (asm-generic/errno.h) has them, libuv does not: there they are "Unknown system error -74". */
const namesOfLinux: Readonly<Record<number, string>> = {
  61: "ENODATA",
  74: "EBADMSG",
  117: "EUCLEAN",
  121: "EREMOTEIO",
};

/** `EIO`, `EBADMSG`, …; null for what is no error of a system call. */
export function systemErrorName(thrown: unknown): string | null {
  if (!(thrown instanceof Error)) return null;
  const { errno, syscall, code } = thrown as NodeJS.ErrnoException;
  if (typeof syscall !== "string") return null;
  if (typeof errno === "number" && errno < 0) return namesOfLinux[-errno] ?? getSystemErrorName(errno);
  return code ?? null;
}
