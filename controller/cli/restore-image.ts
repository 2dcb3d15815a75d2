// skep restore image: an image that a run holds, back into an engine: this machine's, or over SSH that of a machine of the
// inventory. Its bytes pass through here, from the store into the engine, and touch no disk on the way.
import { Option, type Command } from "commander";
import { Readable } from "node:stream";
import { SkepError } from "../../shared/errors.ts";
import { imageContent, imageEntry } from "../../shared/repository/open/image-content.ts";
import { readRuns } from "../../shared/repository/run-chain.ts";
import { connectEngine } from "../engine/docker.ts";
import type { Engine } from "../engine/engine.ts";
import { namesToAsk, planImage, splitName, type ExistingName, type ReturningImage } from "../images/returning-image.ts";
import { imageSources, sourceFor, type ImageSource } from "../recovery/images/image-sources.ts";
import { decodeInventory } from "../recovery/inventory.ts";
import { inventoryFolder, sshAccesses } from "../recovery/ssh-access.ts";
import { addIdentityOption, addKitOption, addStoreOptions, type IdentityOptions, type StoreOptions } from "./access.ts";
import { makeBoard } from "./board.ts";
import { withOperator, type OpenedCatalogue } from "./catalogue-access.ts";
import { agree } from "./confirm.ts";
import type { RestoreImageDocument } from "./restore-documents.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { readInputFile } from "./input-file.ts";
import { openEngine } from "./named-engine.ts";
import { withSnapshot, type OpenedOperator } from "./operator-snapshot.ts";
import { passingOver, resolveRun } from "./run-address.ts";
import { askSecret } from "./secret-question.ts";
import { describe, run, type Session } from "./session.ts";
import { facts } from "./table.ts";

interface RestoreImageOptions extends StoreOptions, IdentityOptions {
  run: string;
  docker?: string;
  machine?: string;
  inventory: string;
  existing: ExistingName;
  dryRun?: boolean;
  yes?: boolean;
}

const example = `skep restore image registry.example.org/shop:1 --identity identity-anna.txt
skep restore image shop:1 --machine m2 --inventory inventory.yml --identity identity-anna.txt`;

export function registerImageRestore(restore: Command): void {
  const command = restore
    .command("image <name>")
    .description("load an image that a run holds into an engine, and give it its names")
    .option("--run <run>", "from this run (default: the newest that has it)", "latest")
    .option(
      "--docker <address>",
      "engine: unix:///PATH or tcp://HOST:PORT (default: $DOCKER_HOST, else this machine's)",
    )
    .option("--machine <name>", "engine of this machine of the inventory, over SSH")
    .option("--inventory <file>", "the machines, with --machine", "inventory.yml")
    .addOption(
      new Option("--existing <what>", "what becomes of a name that stands for another image there")
        .choices(["fail", "skip", "update"])
        .default("fail"),
    )
    .option("--dry-run", "show the plan and do nothing")
    .option("--yes", "do it without being asked");
  addIdentityOption(addStoreOptions(addKitOption(command)));
  run(describe(command, example), (session, options: RestoreImageOptions, name) => {
    if (options.docker === undefined || options.machine === undefined) return restoreImage(session, options, name);
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "--docker and --machine name two engines",
      permanent: true,
      hint: "give one of them",
    });
  });
}

async function restoreImage(session: Session, options: RestoreImageOptions, name: string): Promise<ExitCode> {
  return await withEngine(session, options, async (engine) => {
    const { Architecture } = await engine.info(session.signal);
    return await withOperator(session, options, async (opened) => {
      const source = await findImage(session, opened, { ...options, name, architecture: Architecture });
      return await giveBack(session, options, { engine, opened, source });
    });
  });
}

async function withEngine<T>(
  { output, signal }: Session,
  options: RestoreImageOptions,
  use: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { machine: name } = options;
  if (name === undefined) return await use(await openEngine(options.docker));
  const { inventory } = decodeInventory(await readInputFile(options.inventory, "the inventory"), options.inventory);
  const { [name]: listed } = inventory.machines;
  if (listed === undefined) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: `${options.inventory} has no machine ${name}`,
      permanent: true,
      hint: `it has ${Object.keys(inventory.machines).join(", ")}`,
    });
  }
  const accesses = await sshAccesses(
    { ...inventory, machines: { [name]: listed } },
    {
      folder: inventoryFolder(options.inventory),
      askPassword: output.interactive ? (question) => askSecret(question, signal) : null,
    },
  );
  const access = accesses.get(name);
  if (access === undefined) throw new TypeError(`no way to ${name}`);
  // Only here: restoring anything else needs no SSH.
  const { defaultDockerSocket, RemoteMachine } = await import("../recovery/remote-machine.ts");
  const machine = new RemoteMachine(access, listed.dockerSocket ?? defaultDockerSocket);
  try {
    const agent = await machine.engineAgent(signal);
    return await use(await connectEngine({ kind: "agent", agent, name: `ssh://${name}` }));
  } finally {
    await machine.close();
  }
}

/** The newest run that has it, for `architecture` (the engine's word). Throws SKEP_RESTORE_IMAGE_UNKNOWN, SKEP_RUN_UNKNOWN. */
async function findImage(
  session: Session,
  { catalogue }: OpenedCatalogue,
  { run: wanted, name, architecture }: { run: string; name: string; architecture: string },
): Promise<ImageSource> {
  const reading = passingOver(session);
  const runs =
    wanted === "latest" ? readRuns(catalogue, reading) : [await resolveRun(catalogue, wanted, reading)].values();
  let seen = 0;
  const others = new Set<string>();
  for await (const { run: one } of runs) {
    seen++;
    const sources = imageSources(one, []);
    const source = sourceFor(sources, name, architecture);
    if (source !== null) return source;
    for (const { part } of sources) for (const other of part.image.names) others.add(other);
  }
  const has = [...others].sort().slice(0, 20).join(", ");
  throw new SkepError({
    code: "SKEP_RESTORE_IMAGE_UNKNOWN",
    message: `none of ${format.plural(seen, "run")} at ${catalogue.store.address} holds image ${name} for ${architecture}`,
    permanent: true,
    hint: has === "" ? "runs take images along where the policy says images: all or unpullable" : `there are: ${has}`,
  });
}

interface Returning {
  engine: Engine;
  opened: OpenedOperator;
  source: ImageSource;
}

async function giveBack(
  session: Session,
  options: RestoreImageOptions,
  { engine, opened, source }: Returning,
): Promise<ExitCode> {
  const { output, signal } = session;
  const { image } = source.part;
  const present = new Map<string, string>();
  for (const name of new Set(namesToAsk(image))) {
    const found = await engine.image(name, signal);
    if (found !== null) present.set(name, found.Id);
  }
  const plan = planImage(image, present, options.existing);
  const document = (result: RestoreImageDocument["result"]): RestoreImageDocument => ({
    ...{ runId: source.run.id, takenAt: source.part.startedAt, engine: engine.address },
    ...{ image: { id: image.id, architecture: image.architecture, os: image.os }, sizeBytes: source.sizeBytes },
    ...{ present: plan.isPresent, names: plan.names, conflicts: plan.conflicts, result },
  });
  output.say(renderPlan(output.styleWords, { plan, source, engine }, Date.now()));
  if (options.dryRun === true) {
    output.document(document(null));
    return plan.conflicts.length === 0 ? exitCodes.done : exitCodes.failed;
  }
  refuseTaken(plan, engine);
  const changes = !plan.isPresent || plan.names.some(({ action }) => action === "give" || action === "move");
  if (changes && !(await agree(session, options.yes ?? false, `Load it into the engine at ${engine.address}?`))) {
    output.say("nothing was changed");
    output.document(document(null));
    return exitCodes.done;
  }
  const id = plan.isPresent ? image.id : await load(session, { engine, opened, source });
  const named = plan.names.filter(({ action }) => action === "give" || action === "move").map(({ name }) => name);
  for (const name of named) await engine.tagImage(id, splitName(name), signal);
  output.document(document({ id, loaded: !plan.isPresent, named }));
  output.say(
    changes ? `${id} is there${named.length === 0 ? "" : `, as ${named.join(", ")}`}` : "it was there already",
  );
  return exitCodes.done;
}

function renderPlan(
  style: Session["output"]["style"],
  { plan, source, engine }: Pick<Returning, "source" | "engine"> & { plan: ReturningImage },
  now: number,
): string {
  const { image, startedAt } = source.part;
  const size = plan.isPresent ? "it is there already" : `${format.bytes(source.sizeBytes)} pass through here`;
  const becomes = { give: "it gets", keep: "it has", leave: "another image keeps", move: "another image loses" };
  return facts(style, [
    ["image", `${image.id}, ${image.os}/${image.architecture}`],
    ["from", `run ${source.run.id}, taken ${format.time(startedAt)}, ${format.age(startedAt, now)}`],
    ["to", `the engine at ${engine.address}: ${size}`],
    ...plan.names.map(({ name, standsFor, action, now: other }): [string, string] => [
      "name",
      format.visible(
        `${becomes[action]} ${name}${action === "leave" || action === "move" ? ` (${other ?? ""})` : ""}${standsFor === null ? "" : `, for ${standsFor}: a loaded image has no registry's digest, a service is told by docker service update --no-resolve-image --image ${name}`}`,
      ),
    ]),
  ]);
}

function refuseTaken({ conflicts }: ReturningImage, { address }: Engine): void {
  if (conflicts.length === 0) return;
  throw new SkepError({
    code: "SKEP_RESTORE_IMAGE_NAMED",
    message: `on the engine at ${address} another image is called ${conflicts.join(", ")}`,
    permanent: true,
    hint: "nothing was changed; --existing update gives the name to the image of the run, --existing skip leaves it",
  });
}

/** Its id on that engine. */
async function load(session: Session, { engine, opened, source }: Returning): Promise<string> {
  const { output, signal } = session;
  const { part, sizeBytes } = source;
  const board = makeBoard(output);
  const show = (state: "running" | "done" | "failed", doneBytes: number): void => {
    const detail = `${format.bytes(doneBytes)} of ${format.bytes(sizeBytes)}`;
    const share = sizeBytes === 0 ? null : Math.min(1, doneBytes / sizeBytes);
    const label = format.visible(part.image.names[0] ?? part.image.id);
    board.update(`Image of run ${source.run.id}`, [{ id: part.image.id, label, state, detail, share }]);
  };
  let done = 0;
  try {
    const names = await withSnapshot(opened, source, signal, async (snapshot) => {
      const entry = await imageEntry(snapshot, part.manifest.key);
      const content = imageContent(snapshot, entry, (doneBytes) => {
        done = doneBytes;
        show("running", done);
      });
      return await engine.loadImage(Readable.from(content, { objectMode: false }), signal);
    });
    for (const name of names) {
      const found = await engine.image(name, signal);
      if (found === null) continue;
      show("done", done);
      return found.Id;
    }
    throw new SkepError({
      code: "SKEP_RESTORE_IMAGE",
      message: `the engine at ${engine.address} said that it loaded ${names.join(", ")}, and has none of these`,
      permanent: true,
      hint: "look at `docker images --all` there",
    });
  } catch (error) {
    show("failed", done);
    throw error;
  } finally {
    board.close();
  }
}
