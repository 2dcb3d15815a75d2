// skep recover: the swarm is lost; here are other machines. A plan before it is an act.
import { InvalidArgumentError, Option, type Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { recoveryModes } from "../../recovery/journal.ts";
import { rotationKinds, type Rotation } from "../../recovery/rotation/rotations.ts";
import { addIdentityOption, addKitOption, addStoreOptions } from "../access.ts";
import { parseSubnets } from "../object-restores.ts";
import type { PlanOptions } from "../planned-recovery.ts";
import { planCommand, runCommand, writeInventory, type RunOptions } from "../recover.ts";
import { describe, run, type Session } from "../session.ts";
import type { ExitCode } from "../exit-code.ts";

export function register(program: Command): void {
  const recover = program.command("recover").description("rebuild the swarm from a run, onto other machines");

  const inventory = recover
    .command("inventory")
    .description("write a first inventory from a run, for you to complete")
    .option("--run <run>", "from this run (default: the newest with proven Raft state)", "latest")
    .option("--out <file>", "where to write it", "inventory.yml");
  addStoreOptions(addIdentityOption(addKitOption(inventory)));
  run(describe(inventory, "skep recover inventory --identity identity-anna.txt --out inventory.yml"), writeInventory);

  const plan = recover
    .command("plan")
    .description("check run, inventory and machines, and print what would be done; nothing is touched");
  addPlanOptions(plan);
  run(describe(plan, "skep recover plan --inventory inventory.yml --identity identity-anna.txt"), checkedPlan);

  const carryOut = recover
    .command("run")
    .description("carry the plan out; begun before, it goes on where it stopped")
    .option("--dry-run", "print the plan and stop")
    .option("--until <step>", "end once this step is done")
    .option("--only <step>", "do this step alone")
    .option(
      "--fence-command <program>",
      "a program that switches the old machines off; their addresses are on its stdin",
    )
    .option("--health-seconds <seconds>", "how long services may take to become healthy", "300")
    .option("--yes", "do it without being asked, warnings and all");
  addPlanOptions(carryOut);
  const example = `skep recover run --inventory inventory.yml --identity identity-anna.txt
skep recover run --inventory inventory.yml --identity identity-anna.txt --until swarm --yes`;
  run(describe(carryOut, example), checkedRun);
}

function addPlanOptions(command: Command): void {
  command
    .option("--inventory <file>", "the machines, and what became of each node", "inventory.yml")
    .option("--run <run>", "from this run (default: the newest with proven Raft state)", "latest")
    .addOption(
      new Option(
        "--mode <mode>",
        "raft: the lost swarm goes on; rebuild: a new one with all that it had; quorum: a manager survives, the majority is lost",
      )
        .choices([...recoveryModes])
        .default("raft"),
    )
    .option("--remap-subnet <old=new>", "mode rebuild: give a network another subnet; may be given again", parseSubnets)
    .option("--apply-node-facts", "set engines up as on the nodes that are replaced: daemon.json, certs.d")
    .option(
      "--without-volume <node/name>",
      "leave the data of this volume out; may be given again",
      (id: string, former: string[] | undefined) => [...(former ?? []), id],
    )
    .option("--rotate <what>", "at the end rotate these, commas between: tokens, unlock-key, ca", parseRotations)
    .option("--run-jobs", "run jobs again")
    .option("--accept-foreign", "go on though a newer repository object may have been put over")
    .option("--allow-missing-images", "go on without images that can neither be pulled nor loaded")
    .option(
      "--journal <folder>",
      "where journal and report are kept (default: the unfinished one of this inventory in ./recovery-*, else recovery-RUN)",
    )
    .addOption(
      new Option(
        "--newer-entries <what>",
        "mode quorum: entries above the survivor's commit index; to keep them its engine is stopped",
      ).choices(["keep", "drop"]),
    )
    .option("--unlock-key-file <file>", "mode quorum: the swarm's unlock key, where it was rotated since the run");
  addStoreOptions(addIdentityOption(addKitOption(command)));
}

async function checkedPlan(session: Session, options: PlanOptions): Promise<ExitCode> {
  checkMode(options);
  return await planCommand(session, options);
}

async function checkedRun(session: Session, options: RunOptions & PlanOptions): Promise<ExitCode> {
  const seconds = Number(options.healthSeconds);
  if (!(seconds >= 1 && seconds <= 86_400)) throw usage("--health-seconds takes a number from 1 to 86400");
  if (options.until !== undefined && options.only !== undefined) throw usage("--until and --only exclude each other");
  checkMode(options);
  return await runCommand(session, options);
}

function parseRotations(text: string): Rotation[] {
  return text.split(",").map((word) => {
    const kind = rotationKinds.find((one) => one === word);
    if (kind === undefined) throw new InvalidArgumentError(`write some of ${rotationKinds.join(",")}`);
    return kind;
  });
}

function checkMode(options: PlanOptions): void {
  const { mode, remapSubnet, newerEntries, unlockKeyFile, applyNodeFacts, rotate } = options;
  if (rotate !== undefined && mode === "rebuild")
    throw usage("--rotate needs --mode raft or quorum: a new swarm has keys of its own");
  if (remapSubnet !== undefined && mode !== "rebuild") throw usage("--remap-subnet needs --mode rebuild");
  if (mode === "quorum") {
    if (applyNodeFacts === true) throw usage("--apply-node-facts needs --mode raft or rebuild");
    return;
  }
  if (newerEntries !== undefined) throw usage("--newer-entries needs --mode quorum");
  if (unlockKeyFile !== undefined) throw usage("--unlock-key-file needs --mode quorum");
}

function usage(message: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint: "`skep recover run --help`" });
}
