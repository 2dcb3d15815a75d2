// Names of files as a terminal may show them, and back: a control character, what turns the direction of writing, and
// a byte that is no UTF-8 are written `\xNN`, a backslash `\\`. What is shown can be given as an argument.
import { isUtf8 } from "node:buffer";

/** Unicode's controls, format characters (bidirectional marks among them) and line separators. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/gu;

function escapeBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

export function showName(name: Buffer): string {
  if (!isUtf8(name)) {
    // Byte by byte: what is plain ASCII stays readable.
    return Array.from(name, (byte) => {
      if (byte === 0x5c) return "\\\\";
      return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : escapeBytes(Uint8Array.of(byte));
    }).join("");
  }
  return name
    .toString("utf8")
    .replace(unsafe, (character) => (character === "\\" ? "\\\\" : escapeBytes(Buffer.from(character, "utf8"))));
}

/** The inverse of showName. A backslash before anything else stands for itself. */
export function readName(shown: string): Buffer {
  const parts: Uint8Array[] = [];
  let from = 0;
  for (const match of shown.matchAll(/\\(?:x([0-9a-f]{2})|\\)/g)) {
    parts.push(Buffer.from(shown.slice(from, match.index), "utf8"));
    parts.push(match[1] === undefined ? Buffer.from("\\") : Buffer.from(match[1], "hex"));
    from = match.index + match[0].length;
  }
  parts.push(Buffer.from(shown.slice(from), "utf8"));
  return Buffer.concat(parts);
}
