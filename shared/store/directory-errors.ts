// What the errors of a file system mean for a store: which case it is, and whether trying again can help.
import { SkepError, type ErrorFields } from "../errors.ts";

type Case = Pick<ErrorFields, "code" | "permanent" | "hint"> & { text: string };

const full: Case = {
  code: "SKEP_STORE_FULL",
  permanent: true,
  text: "no room left",
  hint: "free or add room there, or let retention forget runs and prune; what was stored before is untouched",
};
const denied: Case = {
  code: "SKEP_STORE_DENIED",
  permanent: true,
  text: "not permitted",
  hint: "check owner and mode of the folder, and that it is writable for the user that Skep runs as",
};
const unreachable: Case = {
  code: "SKEP_STORE_UNREACHABLE",
  permanent: false,
  text: "the file server does not answer",
  hint: "check the mount and the server behind it",
};
const retriable: Case = { code: "SKEP_STORE_FAILED", permanent: false, text: "the file system failed" };
const final: Case = { code: "SKEP_STORE_FAILED", permanent: true, text: "the file system refused" };

const cases: Readonly<Record<string, Case>> = {
  ENOSPC: full,
  EDQUOT: { ...full, text: "the quota is used up" },
  EACCES: denied,
  EPERM: denied,
  EROFS: { ...denied, text: "the file system is read-only", hint: "mount it writable" },
  ESTALE: unreachable,
  ETIMEDOUT: unreachable,
  ENOTCONN: unreachable,
  EHOSTDOWN: unreachable,
  EHOSTUNREACH: unreachable,
  ECONNREFUSED: unreachable,
  EIO: { ...retriable, text: "input/output error", hint: "look for disk or mount errors in the kernel log" },
  ELOOP: { ...final, text: "a symbolic link stands in its place", hint: "put the real file or folder back" },
  ENOTDIR: {
    ...final,
    text: "a file stands where a folder of the store belongs",
    hint: "move it out of the store",
  },
  EISDIR: { ...final, text: "a folder stands where an object belongs", hint: "move it out of the store" },
  EXDEV: {
    ...final,
    text: "another file system is mounted inside the store",
    hint: "a store must be one file system, so that objects can be moved into place whole",
  },
};

/** `what` names act and object, such as `put packs/0f`. Anything but a file system's error comes back as it is. */
export function explainFileError(thrown: unknown, what: string, address: string): unknown {
  const errno = errnoCode(thrown);
  if (errno === undefined) return thrown;
  const { text, ...fields } = cases[errno] ?? retriable;
  return new SkepError({ ...fields, message: `cannot ${what} at ${address}: ${text} (${errno})`, cause: thrown });
}

/** `ENOENT` and the like; undefined where the thrown value is no error of the operating system. */
export function errnoCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || thrown instanceof SkepError) return undefined;
  const { code, syscall } = thrown as NodeJS.ErrnoException;
  return typeof code === "string" && typeof syscall === "string" ? code : undefined;
}
