// zstd and ChaCha20-Poly1305 from one buffer into another, with nothing made on the way. node:zlib and node:crypto make a
// context and buffers of their own for every frame and every piece, which costs a fifth of a backup's time, and memory
// until the collector comes. Here the same libraries, which the Node program has within, are called directly: zstd's
// contexts are kept, in memory of this thread. A Node built without these symbols goes through its own modules.
import { createCipheriv, createDecipheriv } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { addressOf, declare } from "../foreign-library.ts";
import { pieceTagBytes } from "./age-payload.ts";

export interface Codec {
  /**
   * One zstd frame of `plain` into `target` from `at` on; its length, or null where it has no room there (the target may
   * then hold anything from `at` on).
   */
  compress: (plain: Uint8Array, level: number, target: Uint8Array, at: number) => number | null;
  /** The content of one frame; its length, or null where it is no frame or has no room. */
  decompress: (frame: Uint8Array, target: Uint8Array, at: number) => number | null;
  /** Ciphertext and tag: plain.length + 16 bytes. `nonce`: 12 bytes, once for a key. */
  seal: (key: Uint8Array, nonce: Uint8Array, plain: Uint8Array, target: Uint8Array, at: number) => void;
  /** sealed.length - 16 bytes; false where it does not authenticate (the target may then hold anything from `at` on). */
  open: (key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, target: Uint8Array, at: number) => boolean;
}

function checkRoom(target: Uint8Array, at: number, bytes: number): void {
  if (at < 0 || bytes < 0 || at + bytes > target.length) throw new RangeError("the target is too short");
}

export const nodeCodec: Codec = {
  compress(plain, level, target, at) {
    const params = { [constants.ZSTD_c_compressionLevel]: level };
    // One output buffer that is large enough: by default node:zlib gathers pieces of 16 KiB (8 % slower).
    const frame = zstdCompressSync(plain, { params, chunkSize: plain.length + 1024 });
    if (frame.length > target.length - at) return null;
    target.set(frame, at);
    return frame.length;
  },
  decompress(frame, target, at) {
    const room = target.length - at;
    try {
      const options = { maxOutputLength: Math.max(1, room), chunkSize: Math.max(1024, room) };
      const plain = zstdDecompressSync(frame, options);
      target.set(plain, at);
      return plain.length;
    } catch {
      return null;
    }
  },
  seal(key, nonce, plain, target, at) {
    checkRoom(target, at, plain.length + pieceTagBytes);
    const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: pieceTagBytes });
    target.set(cipher.update(plain), at);
    cipher.final();
    target.set(cipher.getAuthTag(), at + plain.length);
  },
  open(key, nonce, sealed, target, at) {
    const length = sealed.length - pieceTagBytes;
    checkRoom(target, at, length);
    const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: pieceTagBytes });
    decipher.setAuthTag(sealed.subarray(length));
    try {
      target.set(decipher.update(sealed.subarray(0, length)), at);
      decipher.final();
      return true;
    } catch {
      return false;
    }
  },
};

/** Null where this Node has not the symbols. */
export function loadNativeCodec(): Codec | null {
  try {
    return makeNativeCodec();
  } catch {
    return null;
  }
}

const getTag = 0x10; // EVP_CTRL_AEAD_GET_TAG, openssl/evp.h
const setTag = 0x11;
/** Of the highest level in use; zstd needs less for lower ones. */
const maxLevel = 3;
const workspaceAlignment = 64;

function makeNativeCodec(): Codec {
  const isError = declare("unsigned int ZSTD_isError(size_t code)");
  const compress = declare(
    "size_t ZSTD_compressCCtx(uintptr_t context, uintptr_t target, size_t room, uintptr_t plain, size_t length, int level)",
  );
  const decompress = declare(
    "size_t ZSTD_decompressDCtx(uintptr_t context, uintptr_t target, size_t room, uintptr_t frame, size_t length)",
  );
  const compressor = makeContext(
    declare("size_t ZSTD_estimateCCtxSize(int level)")(maxLevel),
    declare("uintptr_t ZSTD_initStaticCCtx(uintptr_t workspace, size_t size)"),
  );
  const decompressor = makeContext(
    declare("size_t ZSTD_estimateDCtxSize()")(),
    declare("uintptr_t ZSTD_initStaticDCtx(uintptr_t workspace, size_t size)"),
  );
  const algorithm = declare("uintptr_t EVP_chacha20_poly1305()")();
  const newCipher = declare("uintptr_t EVP_CIPHER_CTX_new()");
  const freeCipher = declare("void EVP_CIPHER_CTX_free(uintptr_t context)");
  const control = declare("int EVP_CIPHER_CTX_ctrl(uintptr_t context, int type, int length, uintptr_t bytes)");
  const rest = (
    name: string,
    way: string,
  ): { init: typeof control; update: typeof control; final: typeof control } => ({
    init: declare(
      `int EVP_${name}Init_ex(uintptr_t context, uintptr_t algorithm, uintptr_t engine, const void *key, const void *nonce)`,
    ),
    update: declare(
      `int EVP_${name}Update(uintptr_t context, uintptr_t target, void *done, uintptr_t ${way}, int length)`,
    ),
    final: declare(`int EVP_${name}Final_ex(uintptr_t context, uintptr_t target, void *done)`),
  });
  const encrypt = rest("Encrypt", "plain");
  const decrypt = rest("Decrypt", "sealed");
  const done = Buffer.alloc(4);
  const must = (result: number): void => {
    if (result !== 1) throw new Error("OpenSSL refused ChaCha20-Poly1305");
  };

  return {
    compress(plain, level, target, at) {
      checkRoom(target, at, 0);
      const room = target.length - at;
      const length = compress(compressor.pointer, addressOf(target) + at, room, addressOf(plain), plain.length, level);
      return isError(length) === 0 ? length : null;
    },
    decompress(frame, target, at) {
      checkRoom(target, at, 0);
      const room = target.length - at;
      const length = decompress(decompressor.pointer, addressOf(target) + at, room, addressOf(frame), frame.length);
      return isError(length) === 0 ? length : null;
    },
    seal(key, nonce, plain, target, at) {
      checkRoom(target, at, plain.length + pieceTagBytes);
      checkKey(key, nonce);
      // Made anew: it has some hundred bytes, and a thread that is stopped would leave one that is kept.
      const cipher = newCipher();
      try {
        const to = addressOf(target) + at;
        must(encrypt.init(cipher, algorithm, 0, key, nonce));
        if (plain.length > 0) must(encrypt.update(cipher, to, done, addressOf(plain), plain.length));
        must(encrypt.final(cipher, to + plain.length, done));
        must(control(cipher, getTag, pieceTagBytes, to + plain.length));
      } finally {
        freeCipher(cipher);
      }
    },
    open(key, nonce, sealed, target, at) {
      const length = sealed.length - pieceTagBytes;
      checkRoom(target, at, length);
      checkKey(key, nonce);
      const cipher = newCipher();
      try {
        const [from, to] = [addressOf(sealed), addressOf(target) + at];
        must(decrypt.init(cipher, algorithm, 0, key, nonce));
        must(control(cipher, setTag, pieceTagBytes, from + length));
        if (length > 0) must(decrypt.update(cipher, to, done, from, length));
        return decrypt.final(cipher, to + length, done) === 1;
      } finally {
        freeCipher(cipher);
      }
    },
  };
}

/** A context of zstd in memory that goes with this thread. */
function makeContext(size: number, init: (...values: number[]) => number): { pointer: number; workspace: Buffer } {
  const workspace = Buffer.allocUnsafeSlow(size + workspaceAlignment);
  const aligned = Math.ceil(addressOf(workspace) / workspaceAlignment) * workspaceAlignment;
  const pointer = init(aligned, size);
  if (pointer === 0) throw new Error("zstd takes no workspace");
  return { pointer, workspace };
}

function checkKey(key: Uint8Array, nonce: Uint8Array): void {
  if (key.length !== 32 || nonce.length !== 12) throw new RangeError("a key has 32 bytes, a nonce 12");
}

export const codec: Codec = loadNativeCodec() ?? nodeCodec;
