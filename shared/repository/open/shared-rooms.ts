// Memory that all threads see, used again and again: for what a store gives and a thread opens. What is allocated anew for
// each window, and handed over, V8 takes for growth: it collects the main thread's heap for every few of them.
import { sealedPayloadBytes, sealedPieceBytes } from "../age-payload.ts";
import { maxFrameBytes } from "../pack-format.ts";

/** Of the longest frame, whose first and last piece hold more. */
const roomBytes = sealedPayloadBytes(maxFrameBytes) + 2 * sealedPieceBytes;

export class SharedRooms {
  readonly #free: Uint8Array[] = [];

  /** `take` gives `act` memory until it settles: a room, or where so many bytes are more, some of its own. */
  async use<T>(act: (take: (bytes: number) => Uint8Array) => Promise<T>): Promise<T> {
    const taken: Uint8Array[] = [];
    const take = (bytes: number): Uint8Array => {
      if (bytes > roomBytes) return new Uint8Array(bytes);
      const room = this.#free.pop() ?? new Uint8Array(new SharedArrayBuffer(roomBytes));
      taken.push(room);
      return room;
    };
    try {
      return await act(take);
    } finally {
      this.#free.push(...taken);
    }
  }
}
