// What is burned and brought back in the soak of recovery: ten services in three stacks, seven networks and volumes with
// bytes, twenty secrets, ten configs, a PostgreSQL with rows; and what an onlooker of its own sees of it.
import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nodeImage } from "../../lab/image.ts";
import type { LabNode } from "../../lab/node.ts";
import { deployApplication, until, uploadsVolume } from "../../e2e/recovery/application.ts";
import { containerOf, runsWhole, type Estate } from "../../e2e/recovery/estate.ts";
import { volumePath } from "../../e2e/volumes.ts";
import { databasesImage } from "../databases-image.ts";

const secretCount = 19;
const configCount = 7;
const rows = 20_000;

const stillVolumes = { [uploadsVolume]: 2, records_archive: 2, works_queue: 1 } as const;

export const largeEstate: Estate = {
  images: [databasesImage],
  imagesOfRun: true,
  stillVolumes,
  subnets: { from: "10.78.4.0/23", to: "10.99.4.0/23" },
  stopped: "records_postgres",
  deploy,
  replicas: (nodes) => ({
    ...{ shop_database: "1/1", shop_web: "2/2", shop_sidecar: `${nodes}/${nodes}` },
    ...{ records_postgres: "1/1", records_reader: "2/2", records_archive: "1/1" },
    ...{ works_queue: "1/1", works_vault: "1/1", works_watcher: `${nodes}/${nodes}` },
  }),
  contents: async (nodes) => ({ secrets: await secretSums(nodes), rows: await rowsOf(nodes) }),
};

/** Deploys it and fills its volumes with `bytes` in all. `nodes`: three, or one three times. */
async function deploy(nodes: readonly [LabNode, LabNode, LabNode], bytes: number): Promise<void> {
  const [manager, , third] = nodes;
  const image = nodeImage().tag;
  await deployApplication(nodes, image);
  const target = "/root/estate";
  const folder = manager.hostPath(target);
  await mkdir(folder, { recursive: true });
  for (const file of ["records.yml", "postgres.sh"]) await cp(join(import.meta.dirname, file), join(folder, file));
  const secrets = Array.from({ length: secretCount }, (_, index) => `secret${index}`);
  const configs = Array.from({ length: configCount }, (_, index) => `config${index}`);
  for (const name of [...secrets, ...configs]) await writeFile(join(folder, name), randomBytes(500));
  const files = (names: readonly string[]): string => names.map((name) => `  ${name}: { file: ./${name} }\n`).join("");
  const works = await readTemplate("works.yml");
  const filled = works.replace("[SECRETS]", `[${secrets.join(", ")}]`).replace("[CONFIGS]", `[${configs.join(", ")}]`);
  await writeFile(join(folder, "works.yml"), `${filled}\nsecrets:\n${files(secrets)}\nconfigs:\n${files(configs)}`);
  const env = {
    ...{ APPLICATION_IMAGE: image, DATABASES_IMAGE: databasesImage.tag, ROWS: String(rows) },
    ...{ FIRST_NODE: manager.name, THIRD_NODE: third.name },
  };
  for (const stack of ["records", "works"]) {
    const argv = ["docker", "stack", "deploy", "--resolve-image", "never", "-c", `${target}/${stack}.yml`, stack];
    await manager.run(argv, { env });
  }
  await until("the estate runs", async () => await runsWhole(largeEstate, manager, new Set(nodes).size), 180_000);
  const volumes = Object.entries(stillVolumes);
  for (const [volume, at] of volumes) {
    const node = nodes[at];
    // Half of it in one file, the rest in many: both ways of being large.
    const share = Math.floor(bytes / volumes.length);
    await writeFile(join(volumePath(node, volume), "large"), randomBytes(Math.floor(share / 2)));
    const many = join(volumePath(node, volume), "many");
    await mkdir(many);
    for (let count = 0; count < 200; count++) {
      await writeFile(join(many, `file${count}`), randomBytes(Math.floor(share / 400)));
    }
  }
}

async function readTemplate(name: string): Promise<string> {
  return await readFile(join(import.meta.dirname, name), "utf8");
}

/** SHA-256 of each secret's data, as a container sees them. */
async function secretSums(nodes: readonly LabNode[]): Promise<string> {
  const [node, id] = await containerOf(nodes, "works_vault");
  const sums = await node.run(["docker", "exec", id, "sh", "-c", "cd /run/secrets && sha256sum *"]);
  return sums;
}

/** A digest of all rows, asked of the server. */
async function rowsOf(nodes: readonly LabNode[]): Promise<string> {
  const [node, id] = await containerOf(nodes, "records_postgres");
  const sql = "SELECT count(*), md5(string_agg(id || entry, ',' ORDER BY id)) FROM ledger";
  const psql = ["psql", "--host", "/tmp", "--username", "postgres", "--tuples-only", "--no-align", "--command", sql];
  return (await node.run(["docker", "exec", id, ...psql, "shop"])).trim();
}
