// A service on the first node whose one volume is taken by a dump, and whose other one is a folder of the host by its options.
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LabNode } from "../../lab/node.ts";
import { volumePath } from "../volumes.ts";
import { until } from "./application.ts";

export const notesVolume = "notes";
export const notesText = "what was noted\n";
export const libraryFolder = "/srv/library";

export async function deployNotes(node: LabNode, image: string): Promise<void> {
  const folder = node.hostPath(libraryFolder);
  await mkdir(join(folder, "shelf"), { recursive: true });
  await writeFile(join(folder, "shelf/book"), "a book");
  await chmod(folder, 0o750);
  const options = ["--opt", "type=none", "--opt", "o=bind", "--opt", `device=${libraryFolder}`];
  await node.run(["docker", "volume", "create", "--driver", "local", ...options, "library"]);
  const service = ["docker", "service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "notes"];
  // At the volume: at the service they would hold for both of its volumes.
  const words = ["--label", "skep.dump=cat /notes/text", "--label", "skep.load=cat > /notes/text"];
  await node.run(["docker", "volume", "create", ...words, notesVolume]);
  const mounts = [`source=${notesVolume},target=/notes`, "source=library,target=/library"].flatMap((mount) => [
    ...["--mount", `type=volume,${mount}`],
  ]);
  const place = ["--constraint", `node.hostname == ${node.name}`, "--endpoint-mode", "dnsrr"];
  const health = ["--health-cmd", "true", "--health-interval", "1s"];
  await node.run([...service, ...mounts, ...place, ...health, image, "sleep", "100000"]);
  await until("the notes are kept", async () => {
    const { stdout } = await node.exec(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
    return /^notes 1\/1/m.test(stdout);
  });
  await writeFile(join(volumePath(node, notesVolume), "text"), notesText);
}
