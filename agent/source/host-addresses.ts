// The addresses of the host itself, also where this process lives in a network namespace of its own: they are
// read from the host's process 1, by the kernel's tables in /proc/1/net (proc(5)).
import { readFile } from "node:fs/promises";
import path from "node:path";

/** IPv4 and IPv6 addresses of the host, sorted, without loopback; empty where the host's /proc is not seen. */
export async function hostAddresses(hostRoot: string): Promise<string[]> {
  const read = (name: string): Promise<string> =>
    readFile(path.join(hostRoot, "proc/1/net", name), "utf8").catch((error: unknown) => {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "EACCES" || code === "EPERM") return "";
      throw error;
    });
  const [trie, interfaces] = await Promise.all([read("fib_trie"), read("if_inet6")]);
  return [...new Set([...parseFibTrie(trie), ...parseIfInet6(interfaces)])].sort();
}

/** Local IPv4 addresses of a fib_trie: a leaf `|-- ADDRESS` followed by `/32 host LOCAL`. */
export function parseFibTrie(text: string): string[] {
  const found: string[] = [];
  let leaf = "";
  for (const line of text.split("\n")) {
    const address = /\|-- (\d+\.\d+\.\d+\.\d+)/.exec(line)?.[1];
    if (address !== undefined) leaf = address;
    else if (line.includes("/32 host LOCAL") && !leaf.startsWith("127.")) found.push(leaf);
  }
  return [...new Set(found)];
}

/** IPv6 addresses of if_inet6, without loopback and link-local ones. */
export function parseIfInet6(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.slice(0, 32))
    .filter((hex) => /^[0-9a-f]{32}$/.test(hex) && !/^0{31}1$/.test(hex) && !hex.startsWith("fe80"))
    .map((hex) => new URL(`http://[${(hex.match(/.{4}/g) ?? []).join(":")}]`).hostname.slice(1, -1));
}
