// Fills one pack after the other, in a pack worker: frame by frame into the age payload, straight into the buffer
// that goes to the store.
import { sealedPayloadBytes } from "./age-payload.ts";
import { PayloadSealer } from "./age-sealer.ts";
import { digest } from "./blake3.ts";
import { writeChunkFrame } from "./chunk-frame.ts";
import {
  encodeChunkTable,
  maxFrameBytes,
  maxPackChunks,
  maxPackPlainBytes,
  packTargetBytes,
  type PackRow,
} from "./pack-format.ts";
import type { PackRoom, SealedPack } from "./pack-worker-messages.ts";

/** Room for the header of one recipient, also a post-quantum one (about 2 KiB). */
const maxHeaderBytes = 8192;
const packBufferBytes = maxHeaderBytes + sealedPayloadBytes(maxPackPlainBytes);

class OpenPack {
  readonly buffer: SharedArrayBuffer;
  readonly bytes: Buffer;
  readonly headerBytes: number;
  readonly sealer: PayloadSealer;
  readonly rows: PackRow[] = [];
  /** Of the whole file so far. */
  used: number;
  plainBytes = 0;

  constructor({ buffer, age: { header, fileKey } }: PackRoom) {
    this.buffer = buffer ?? new SharedArrayBuffer(packBufferBytes);
    this.bytes = Buffer.from(this.buffer);
    this.bytes.set(header);
    this.used = this.headerBytes = header.length;
    const append = (sealed: Uint8Array): void => {
      this.bytes.set(sealed, this.used);
      this.used += sealed.length;
    };
    this.sealer = new PayloadSealer(fileKey, append, true);
  }
}

export class PackBuilder {
  readonly #takeRoom: () => Promise<PackRoom>;
  readonly #emit: (pack: SealedPack, buffer: SharedArrayBuffer) => void;
  readonly #frame = Buffer.allocUnsafeSlow(maxFrameBytes);
  #open: OpenPack | null = null;

  /** `takeRoom` waits until one is free; `emit` takes the buffer over. */
  constructor(takeRoom: () => Promise<PackRoom>, emit: (pack: SealedPack, buffer: SharedArrayBuffer) => void) {
    this.#takeRoom = takeRoom;
    this.#emit = emit;
  }

  /** `name`: 32 bytes, kept. `plain`: 1 byte to maxChunkBytes, not kept. */
  async add(name: Uint8Array, plain: Buffer): Promise<void> {
    const pack = (this.#open ??= new OpenPack(await this.#takeRoom()));
    const frame = this.#frame.subarray(0, writeChunkFrame(plain, this.#frame));
    pack.sealer.write(frame);
    pack.plainBytes += frame.length;
    pack.rows.push({ name, frameBytes: frame.length, plainBytes: plain.length });
    if (pack.plainBytes >= packTargetBytes || pack.rows.length >= maxPackChunks) this.finish();
  }

  /** Closes and emits the open pack; nothing where none is. */
  finish(): void {
    const pack = this.#open;
    if (pack === null) return;
    this.#open = null;
    pack.sealer.write(encodeChunkTable(pack.rows));
    pack.sealer.finish();
    this.#emit(
      {
        pack: digest(pack.bytes.subarray(0, pack.used)),
        headerBytes: pack.headerBytes,
        sizeBytes: pack.used,
        chunks: pack.rows,
      },
      pack.buffer,
    );
  }
}
