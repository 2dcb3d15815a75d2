// How objects come from the store by hand: a small script `fetch KEY…` that puts each to store/KEY, once. From S3 by curl, which
// signs requests itself (7.75 and later); its credentials are in a file of their own, not in arguments.
import { parseStoreUrl, type StoreLocation } from "../../shared/store/location.ts";
import { quoteArguments } from "../recovery/quote-arguments.ts";

/** How to read the store: what a script needs to know, and no credentials. */
export interface ReadingPlace {
  /** Where a key is looked for: URL or path, with a slash at its end. */
  base: string;
  kind: "s3" | "file";
  region: string;
  /** Told to the operator: which other file to bring. */
  credentialsHint: string;
  /** Certificates to trust, where the store's are not the system's: a file's name, or null. */
  caPem: string | null;
}

export const credentialsFile = "s3.curl";
/** SHA-256 of no bytes, which S3 wants to be told of a request without a body; curl signs it and does not send it by itself. */
const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const defaultRegion = "us-east-1";

/** Null for a location that is none. */
export function readingPlace({ url, endpoint, region, pathStyle, caPem }: StoreLocation): ReadingPlace | null {
  const place = parseStoreUrl(url);
  if (place === null) return null;
  if (place.kind === "file") {
    return { base: `${place.path}/`, kind: "file", region: "", credentialsHint: "", caPem: null };
  }
  const used = region ?? defaultRegion;
  const prefix = place.prefix === "" ? "" : `${place.prefix}/`;
  const server = new URL(endpoint ?? `https://s3.${used}.amazonaws.com`);
  const inPath = pathStyle ?? endpoint !== undefined;
  const base = inPath
    ? `${server.protocol}//${server.host}/${place.bucket}/${prefix}`
    : `${server.protocol}//${place.bucket}.${server.host}/${prefix}`;
  const credentialsHint = `, and \`${credentialsFile}\`, a file for its owner alone with the one line \`user = "ACCESS-KEY-ID:SECRET-ACCESS-KEY"\``;
  return { base, kind: "s3", region: used, credentialsHint, caPem: caPem ?? null };
}

/** Shell text that writes the file `fetch` into the working folder. */
export function fetchScript(place: ReadingPlace): string {
  const base = quoteArguments([place.base]);
  const get =
    place.kind === "file"
      ? 'cp "$base$key" "store/$key.part"'
      : `curl -fsS --retry 5 --connect-timeout 20 -K ${credentialsFile} -H ${quoteArguments([`x-amz-content-sha256: ${emptyDigest}`])}${place.caPem === null ? "" : " --cacert store-ca.pem"} --aws-sigv4 ${quoteArguments([`aws:amz:${place.region}:s3`])} -o "store/$key.part" "$base$key"`;
  const script = [
    "cat > fetch <<'END'",
    "#!/bin/sh",
    "set -eu",
    `base=${base}`,
    "for key; do",
    '  [ ! -e "store/$key" ] || continue',
    '  mkdir -p "store/$(dirname "$key")"',
    `  ${get}`,
    '  mv "store/$key.part" "store/$key"',
    "done",
    "END",
  ];
  const ca = place.caPem === null ? [] : ["cat > store-ca.pem <<'END'", place.caPem.trim(), "END"];
  return [...ca, ...script].join("\n");
}
