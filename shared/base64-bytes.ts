// A fixed number of bytes in JSON, as standard base64 (RFC 4648, section 4). The length of the text does not say how many
// bytes it holds, its padding does: of 44 characters there may come 31, 32 or 33, and who compares or decrypts by them throws.
import { z } from "zod";

/** Exactly `count` bytes. */
export function base64Bytes(count: number): z.ZodString {
  const padding = (3 - (count % 3)) % 3;
  const characters = Math.ceil(count / 3) * 4 - padding;
  return z.string().regex(new RegExp(`^[A-Za-z0-9+/]{${characters}}={${padding}}$`), `not ${count} bytes of base64`);
}
