// The recovery card: the one page that, with the identity file, leads a stranger back to the backups. Printed by
// `skep init`, kept in the kit, meant for paper. No secret is on it.
import type { StoredKit } from "../../shared/repository/kit-list.ts";
import type { StoreLocation } from "../../shared/store/location.ts";
import { parseStoreUrl } from "../../shared/store/location.ts";

export interface RecoveryCard {
  location: StoreLocation;
  repositoryId: string;
  rootPublicKey: string;
  operatorName: string;
  identityFileName: string;
  createdAt: string;
  skepVersion: string;
  /** Words of the operator; null: a line to fill in by hand. */
  readCredentials: string | null;
  /** In the store, beside the data. */
  kits: readonly StoredKit[];
}

export function renderRecoveryCard(card: RecoveryCard): string {
  const { location } = card;
  const isFolder = parseStoreUrl(location.url)?.kind === "file";
  const fields: [name: string, value: string][] = [
    ["Repository", card.repositoryId],
    ["Store", location.url],
    ...(isFolder
      ? ([["Credentials", "none: mount the disk or share that holds this folder"]] satisfies [string, string][])
      : ([
          ["Endpoint", location.endpoint ?? "AWS"],
          ["Region", location.region ?? "the bucket's own"],
          ["Path style", (location.pathStyle ?? location.endpoint !== undefined) ? "yes" : "no"],
          ["CA", location.caPem === undefined ? "a public one" : "the certificate below"],
          ["Read credentials", card.readCredentials ?? "_____________________________________________ (fill in)"],
        ] satisfies [string, string][])),
    ["Root public key", card.rootPublicKey],
    ["Identity", `${card.identityFileName}, held by ${card.operatorName}, at ____________________ (fill in)`],
    ...card.kits.map(({ architecture, sha256 }): [string, string] => [`Kit ${architecture}`, `SHA-256 ${sha256}`]),
    ["Made", `${card.createdAt} by Skep ${card.skepVersion}`],
  ];
  const width = Math.max(...fields.map(([name]) => name.length));
  return [
    "SKEP RECOVERY CARD",
    "==================",
    "With the store, this card and the identity file, everything can be restored.",
    "Print it. Keep it where it survives the cluster, and apart from the identity file.",
    "",
    ...fields.map(([name, value]) => `${name.padEnd(width)}  ${value}`),
    "",
    "To look into the backups on any machine with Skep:",
    "",
    `  skep runs --store ${location.url}${storeFlags(location)} --identity ${card.identityFileName}`,
    ...(card.kits.length === 0 ? [] : byKit(card.kits)),
    ...(location.caPem === undefined ? [] : ["", "ca.pem:", location.caPem.trim()]),
    "",
  ].join("\n");
}

function byKit([first]: readonly StoredKit[]): string[] {
  return [
    "",
    "Without Skep at hand: download what lies in the store under kits/ and the hash above, then",
    "",
    `  cat kits/${first?.sha256.slice(0, 8) ?? ""}*/* > kit.tar.gz`,
    "  sha256sum kit.tar.gz                # must be the hash above",
    "  mkdir skep && tar -xzf kit.tar.gz -C skep && ./skep/skep --help",
  ];
}

function storeFlags(location: StoreLocation): string {
  return [
    location.endpoint === undefined ? "" : ` --endpoint ${location.endpoint}`,
    location.region === undefined ? "" : ` --region ${location.region}`,
    location.pathStyle === true ? " --path-style" : "",
    location.caPem === undefined ? "" : " --ca ca.pem",
  ].join("");
}
