// The symmetric keys and how they follow from each other:
//
//   repository key (32 random bytes)  ── HKDF ──▶ catalogue key (seals run objects, policy, enrolments)
//                                     ├─ HKDF ──▶ check value (in the repository object: proves the key)
//                                     └─ HKDF ──▶ writer key of each node ── HKDF ──▶ chunk-name, chunker, seal, result keys
//
// HKDF-SHA256 (RFC 5869), salt = the repository id's 16 bytes, info = the ASCII label below, 32 bytes out.
// A writer learns its own writer key and nothing else; the controller and the operators hold the repository key.
import { hkdfSync } from "node:crypto";

/** Raw key bytes, always 32. */
export type KeyBytes = Uint8Array;

function derive(key: KeyBytes, repositoryId: string, label: string): KeyBytes {
  return new Uint8Array(hkdfSync("sha256", key, Buffer.from(repositoryId, "hex"), `skep/v1 ${label}`, 32));
}

/** Seals what only the controller and the operators read: run objects, policy, enrolments. */
export function deriveCatalogueKey(repositoryKey: KeyBytes, repositoryId: string): KeyBytes {
  return derive(repositoryKey, repositoryId, "catalogue");
}

/** 64 hex digits that the repository object names: tells this repository key from every other, and nothing of it. */
export function deriveKeyCheck(repositoryKey: KeyBytes, repositoryId: string): string {
  return Buffer.from(derive(repositoryKey, repositoryId, "check")).toString("hex");
}

export function deriveWriterKey(repositoryKey: KeyBytes, repositoryId: string, writerId: string): KeyBytes {
  return derive(repositoryKey, repositoryId, `writer ${writerId}`);
}

export interface WriterKeys {
  /** Keyed BLAKE3: the name of a chunk. */
  chunkName: KeyBytes;
  /** Makes the chunker's gear table. */
  chunker: KeyBytes;
  /** Seals this writer's index and refs. */
  seal: KeyBytes;
  /** Authenticates job results to the controller (HMAC-SHA256). */
  result: KeyBytes;
}

export function deriveWriterKeys(writerKey: KeyBytes, repositoryId: string): WriterKeys {
  return {
    chunkName: derive(writerKey, repositoryId, "chunk-name"),
    chunker: derive(writerKey, repositoryId, "chunker"),
    seal: derive(writerKey, repositoryId, "seal"),
    result: derive(writerKey, repositoryId, "result"),
  };
}
