// The application of the recovery's tests on a cluster, and what a witness of its own sees of it through the API: not by
// Skep's code, so that a fault there can't hide.
import { randomBytes } from "node:crypto";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { LabNode } from "../../lab/node.ts";
import { updateInSwarm } from "../../lab/swarm.ts";
import { volumePath } from "../volumes.ts";

export const databaseVolume = "shop_data";
export const uploadsVolume = "shop_uploads";
export const signingKey = randomBytes(32).toString("hex");

/**
 * Deploys it: the database on the second node, the web service on those of zone b, which is the third. One may stand for all.
 * `swarmNodes`: how many the swarm has, where it has more.
 */
export async function deployApplication(
  nodes: readonly LabNode[],
  image: string,
  swarmNodes = new Set(nodes).size,
): Promise<void> {
  const [manager, second, third] = nodes;
  if (manager === undefined || second === undefined || third === undefined) throw new RangeError("three nodes");
  await updateInSwarm(manager, ["node", "update", "--label-add", "zone=a", "--label-add", "disk=ssd", second.name]);
  await updateInSwarm(manager, ["node", "update", "--label-add", "zone=b", third.name]);
  const secondId = (await second.run(["docker", "info", "--format", "{{.Swarm.NodeID}}"])).trim();
  const target = "/root/shop";
  const folder = manager.hostPath(target);
  await mkdir(folder, { recursive: true });
  await cp(join(import.meta.dirname, "application.yml"), join(folder, "application.yml"));
  await cp(join(import.meta.dirname, "../../demo/ledger.mjs"), join(folder, "ledger.mjs"));
  await writeFile(join(folder, "page.html"), "<h1>A shop</h1>\n");
  await writeFile(join(folder, "signing.key"), signingKey);
  await manager.run(
    ["docker", "stack", "deploy", "--resolve-image", "never", "-c", `${target}/application.yml`, "shop"],
    { env: { APPLICATION_IMAGE: image, DATABASE_NODE_ID: secondId } },
  );
  // A job that ends, and that must not run again.
  const job = ["docker", "service", "create", "--detach", "--quiet", "--no-resolve-image", "--mode", "replicated-job"];
  await manager.run([...job, "--name", "migration", "--endpoint-mode", "dnsrr", image, "busybox", "true"]);
  await until("the application runs", async () => {
    const { stdout } = await manager.exec(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
    return (
      /^shop_database 1\/1/m.test(stdout) &&
      /^shop_web 2\/2/m.test(stdout) &&
      new RegExp(`^shop_sidecar ${swarmNodes}/${swarmNodes}`, "m").test(stdout) &&
      /^migration .*\(1\/1 completed\)/m.test(stdout)
    );
  });
  await writeFile(join(volumePath(third, uploadsVolume), "picture"), randomBytes(3_000_000));
  await writeFile(join(volumePath(third, uploadsVolume), "empty"), "");
}

export async function until(what: string, holds: () => Promise<boolean>, timeoutMs = 120_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await sleep(300);
  }
}

/** Rolls the service back, waits for the end of it, and throws where another task runs then. */
export async function rollBack(manager: LabNode, service: string): Promise<void> {
  const tasks = async (): Promise<string> =>
    await manager.run(["docker", "service", "ps", "--quiet", "--filter", "desired-state=running", service]);
  const before = await tasks();
  await manager.run(["docker", "service", "rollback", "--detach", service]);
  const state = ["docker", "service", "inspect", "--format", "{{.UpdateStatus.State}}", service];
  await until("it is rolled back", async () => (await manager.run(state)).trim() === "rollback_completed");
  if ((await tasks()) !== before) throw new Error(`${service} was started anew by a rollback`);
}

interface Seen {
  [kind: string]: unknown;
}

/**
 * Everything that must be the same afterwards, by name; ids of nodes become hostnames, and those what they were (`hosts`:
 * new → old). `ids`: those of other objects are to be the same too, or are new and become names.
 */
export async function witness(
  manager: LabNode,
  hosts: ReadonlyMap<string, string>,
  ids: "same" | "new" = "same",
): Promise<Seen> {
  const ask = async (path: string): Promise<Record<string, unknown>[]> =>
    (await askEngine(manager, path)) as Record<string, unknown>[];
  const nodes = (await ask("/nodes")) as { ID: string; Description: { Hostname: string }; Spec: object }[];
  const nameById = new Map(nodes.map(({ ID, Description }) => [ID, Description.Hostname]));
  if (ids === "new") {
    for (const path of ["/services", "/secrets", "/configs", "/networks"]) {
      for (const object of await ask(path)) nameById.set(String(object["ID"] ?? object["Id"]), nameOf(object));
    }
  }
  const rename = (text: string): string => {
    // Numbers of overlays are the swarm's choice, as ids are.
    let renamed = ids === "same" ? text : text.replace(vxlanNumber, "");
    for (const [id, hostname] of nameById) renamed = renamed.replaceAll(id, hostname);
    for (const [now, formerly] of hosts) renamed = renamed.replaceAll(now, formerly);
    return renamed;
  };
  const byName = (objects: Record<string, unknown>[], content: (object: Record<string, unknown>) => unknown): object =>
    Object.fromEntries(
      objects
        .map((object) => [nameOf(object), JSON.parse(rename(JSON.stringify(content(object)))) as unknown] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  const notOwn = (objects: Record<string, unknown>[]): Record<string, unknown>[] =>
    objects.filter((object) => !nameOf(object).startsWith("skep_controller"));
  return {
    services: byName(notOwn(await ask("/services")), ({ Spec }) => Spec),
    secrets: byName(notOwn(await ask("/secrets")), ({ ID, Spec }) => [ID, Spec]),
    configs: byName(await ask("/configs"), ({ ID, Spec }) => [ID, Spec]),
    networks: byName(
      (await ask("/networks")).filter(({ Scope }) => Scope === "swarm"),
      ({ Id, Driver, IPAM, Internal, Attachable, Ingress, Options, Labels }) => [
        ...[Id, Driver, IPAM, Internal, Attachable, Ingress, Options, Labels],
      ],
    ),
    nodes: nodesByName(nodes.map(({ Description: { Hostname }, Spec }) => [hosts.get(Hostname) ?? Hostname, Spec])),
  };
}

/** Several may go by one name, and none of them shall hide another. */
function nodesByName(named: readonly (readonly [name: string, spec: object])[]): Record<string, object> {
  const isShared = (name: string): boolean => named.filter(([other]) => other === name).length > 1;
  return Object.fromEntries(
    named
      .map(([name, spec], index) => [isShared(name) ? `${name} ${index}` : name, spec] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function nameOf(object: Record<string, unknown>): string {
  const { Spec, Name } = object as { Spec?: { Name?: string }; Name?: string };
  return Spec?.Name ?? Name ?? "";
}

/** Of an option among others, or alone: with the comma that parts it from them. */
const vxlanNumber =
  /,"com.docker.network.driver.overlay.vxlanid_list":"[\d,]+"|"com.docker.network.driver.overlay.vxlanid_list":"[\d,]+",?/;

async function askEngine(node: LabNode, path: string): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    node.docker.modem.dial({ path, method: "GET", statusCodes: { 200: true } }, (error: unknown, answer: unknown) => {
      if (error === null) resolve(answer);
      else reject(error instanceof Error ? error : new Error(`${node.name}: ${path}`));
    });
  });
}
