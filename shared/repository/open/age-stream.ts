// Reading one age v1 file as it comes, from a pipe or a row of objects: every piece is authenticated before it is given
// on, and the last one must say that it is the last, so that a file cut between two pieces is noticed.
import { fileKeyBytes, payloadKey, payloadNonceBytes, sealedPieceBytes } from "../age-payload.ts";
import { findHeaderEnd, maxHeaderBytes } from "./age.ts";
import { damaged, openPiece } from "./payload-opener.ts";

/**
 * The plaintext. `unlock` gives the file key (16 bytes) of a whole header; `place` names the file. Throws what `unlock` and the
 * source throw, and SKEP_AGE_INVALID.
 */
export async function* openAgeStream(
  source: AsyncIterable<Uint8Array>,
  unlock: (header: Uint8Array) => Promise<Uint8Array>,
  place: string,
): AsyncGenerator<Uint8Array> {
  let key: Uint8Array | null = null;
  let fileKey: Uint8Array | null = null;
  let held: Uint8Array = new Uint8Array(0);
  let piece = 0;
  for await (const bytes of source) {
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    if (fileKey === null) {
      const headerEnd = findHeaderEnd(held);
      if (headerEnd === null && held.length > maxHeaderBytes)
        throw damaged(place, "it does not start with an age header");
      if (headerEnd === null) continue;
      fileKey = await unlock(held.subarray(0, headerEnd));
      if (fileKey.length !== fileKeyBytes) throw damaged(place, "its file key has another length");
      held = held.subarray(headerEnd);
    }
    if (key === null) {
      if (held.length < payloadNonceBytes) continue;
      key = payloadKey(fileKey, held.subarray(0, payloadNonceBytes));
      held = held.subarray(payloadNonceBytes);
    }
    let at = 0;
    // A full piece is opened only when more follows: the last one carries a mark.
    for (; held.length - at > sealedPieceBytes; at += sealedPieceBytes) {
      yield openPiece(key, held.subarray(at, at + sealedPieceBytes), { piece: piece++, last: false, place });
    }
    held = held.subarray(at);
  }
  if (key === null) throw damaged(place, "it ends within its age header");
  const last = openPiece(key, held, { piece, last: true, place });
  if (last.length === 0 && piece > 0) throw damaged(place, "its last piece is empty");
  if (last.length > 0) yield last;
}
