// A stretch of a pack as the store gave it, and what opens it: decrypts, decompresses, and checks every chunk against
// its name. Pure, so that any thread can do it (opening-crew.ts).
import { SkepError } from "../../errors.ts";
import { keyedDigest } from "../blake3.ts";
import { maxChunkBytes } from "../chunker.ts";
import type { KeyBytes } from "../keys.ts";
import { maxFrameBytes } from "../pack-format.ts";
import { pieceBytes } from "../age-payload.ts";
import { codec } from "../native-codec.ts";
import { PayloadOpener } from "./payload-opener.ts";

export interface FrameToRead {
  name: string;
  /** In the pack's plaintext. */
  start: number;
  frameBytes: number;
  plainBytes: number;
}

export interface SealedWindow {
  /** Names the pack. */
  place: string;
  fileKey: Uint8Array;
  nonce: Uint8Array;
  /** Of nonce and all pieces of the pack. */
  payloadBytes: number;
  /** Whole pieces, the first of which has number `firstPiece`. */
  sealed: Uint8Array;
  firstPiece: number;
  /** All of them lie within those pieces. */
  frames: FrameToRead[];
}

/** Of this thread, for the plaintext of a window; as long as the longest so far. */
let plainBuffer = Buffer.alloc(0);

/**
 * The chunks' content, one after the other, as the frames come; at the beginning of a buffer that `take` gives for so many
 * bytes. Throws SKEP_AGE_INVALID, SKEP_CHUNK_DAMAGED.
 */
export function openWindow(
  window: SealedWindow,
  chunkNameKey: KeyBytes,
  take = (bytes: number): Uint8Array => new Uint8Array(bytes),
): Uint8Array {
  const { place, fileKey, nonce, payloadBytes, sealed, firstPiece, frames } = window;
  for (const frame of frames) checkBounds(frame, place);
  if (plainBuffer.length < sealed.length) plainBuffer = Buffer.allocUnsafeSlow(sealed.length);
  const plain = new PayloadOpener(fileKey, nonce, payloadBytes, place).open(sealed, firstPiece, plainBuffer);
  const from = firstPiece * pieceBytes;
  const content = take(frames.reduce((sum, { plainBytes }) => sum + plainBytes, 0));
  let filled = 0;
  for (const frame of frames) {
    const bytes = plain.subarray(frame.start - from, frame.start - from + frame.frameBytes);
    openFrameInto(bytes, frame, { chunkNameKey, place }, content.subarray(filled, filled + frame.plainBytes));
    filled += frame.plainBytes;
  }
  return content;
}

/** The chunk's content, once its length and name fit. Throws SKEP_CHUNK_DAMAGED; `place` names the pack. */
export function openChunkFrame(bytes: Uint8Array, frame: FrameToRead, chunkNameKey: KeyBytes, place: string): Buffer {
  checkBounds(frame, place);
  const content = Buffer.allocUnsafe(frame.plainBytes);
  openFrameInto(bytes, frame, { chunkNameKey, place }, content);
  return content;
}

/** `target` has just the room that the chunk needs: what would be longer does not decompress. */
function openFrameInto(
  bytes: Uint8Array,
  frame: FrameToRead,
  { chunkNameKey, place }: { chunkNameKey: KeyBytes; place: string },
  target: Uint8Array,
): void {
  const length = codec.decompress(bytes, target, 0);
  if (length === null) throw damaged(frame, place, "does not decompress");
  if (length !== frame.plainBytes) throw damaged(frame, place, `has ${length} bytes, not ${frame.plainBytes}`);
  if (keyedDigest(chunkNameKey, target) !== frame.name) {
    throw damaged(frame, place, "has another content than its name says");
  }
}

function checkBounds(frame: FrameToRead, place: string): void {
  if (frame.plainBytes <= maxChunkBytes && frame.frameBytes <= maxFrameBytes) return;
  throw damaged(frame, place, "is larger than may be");
}

function damaged(frame: FrameToRead, place: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_CHUNK_DAMAGED",
    message: `${place}: chunk ${frame.name} at byte ${frame.start} ${why}`,
    permanent: true,
    hint: "the pack was written wrongly or is not the one that the refs name; `skep check` tells what it hurts",
    cause,
  });
}
