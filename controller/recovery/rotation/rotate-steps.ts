// The rotations of a swarm that is back. Each is done once, however often the recovery is begun: what the copy has is the
// former, and where the swarm has another already nothing is asked of it again. No key and no token stands in the journal.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { decodeUnlockKey, encodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import type { StepResult } from "../journal.ts";
import { firstMachine, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import { writeSecretFile } from "../secret-file.ts";
import type { StepActions, StepContext } from "../steps.ts";
import { rotationStepId, type Rotation } from "./rotations.ts";

const tokensSchema = z.looseObject({ Worker: z.string(), Manager: z.string() });
const presentSchema = z.looseObject({
  Version: z.looseObject({ Index: z.int() }),
  Spec: z.looseObject({ CAConfig: z.looseObject({ ForceRotate: z.int().optional() }).nullish() }),
  JoinTokens: tokensSchema,
  RootRotationInProgress: z.boolean().optional(),
  TLSInfo: z.looseObject({ TrustRoot: z.string() }),
});
type PresentSwarm = z.infer<typeof presentSchema>;
/** Of the state that was laid down, the unlock key of its cluster object too: that of the key file beside it may be ahead. */
const copiedSchema = z.looseObject({
  Spec: z.looseObject({ CAConfig: z.looseObject({ ForceRotate: z.int().optional() }).nullish() }),
  JoinTokens: tokensSchema,
  TLSInfo: z.looseObject({ TrustRoot: z.string() }),
  UnlockKey: z.string(),
});
const unlockSchema = z.looseObject({ UnlockKey: z.string() });
const nodesSchema = z.array(
  z.looseObject({
    Status: z.looseObject({ State: z.string() }),
    Description: z.looseObject({ Hostname: z.string().optional() }),
  }),
);

const caTimeoutMs = 600_000;
const pollMs = 1_000;
const mostTries = 10;

export function unlockKeyPath({ folder }: Pick<RecoveryTools, "folder">): string {
  return join(folder, "unlock-key");
}

export function rotationActions(tools: RecoveryTools): Map<string, StepActions> {
  const actions: Readonly<Record<Rotation, StepActions>> = {
    tokens: {
      check: (context) => findTokens(tools, context),
      act: async (context) => {
        await updateSwarm(tools, context, { rotateWorkerToken: true, rotateManagerToken: true });
        return (await findTokens(tools, context)) ?? throwUnrotated("join tokens");
      },
    },
    "unlock-key": {
      check: (context) => findUnlockKey(tools, context),
      act: async (context) => {
        await updateSwarm(tools, context, { rotateManagerUnlockKey: true });
        return (await findUnlockKey(tools, context)) ?? throwUnrotated("unlock key");
      },
    },
    ca: { check: (context) => findCa(tools, context), act: (context) => rotateCa(tools, context) },
  };
  return new Map(tools.plan.rotations.map((kind) => [rotationStepId(kind), actions[kind]]));
}

function throwUnrotated(what: string): never {
  throw new SkepError({
    code: "SKEP_RECOVERY_ROTATION",
    message: `the swarm was told to rotate its ${what}, and has the former still`,
    permanent: true,
    hint: "did somebody else change the swarm meanwhile? the same command tries again",
  });
}

/** A token's last part; the one before it is the CA's digest. Source: swarmkit ca/config.go, SWMTKN-1-DIGEST-SECRET. */
export function tokenSecret(token: string): string {
  return token.split("-").at(-1) ?? "";
}

async function findTokens(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult | null> {
  const { JoinTokens: now } = await presentSwarm(tools, signal);
  const former = copied(tools).JoinTokens;
  const isNew = (kind: "Worker" | "Manager"): boolean => tokenSecret(now[kind]) !== tokenSecret(former[kind]);
  return isNew("Worker") && isNew("Manager") ? { rotated: true } : null;
}

/** The new one goes to the operator's machine, for its owner alone, before the step counts as done. A swarm that was unlocked since has none. */
async function findUnlockKey(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult | null> {
  const manager = machineOf(tools, firstMachine(tools).name);
  const { UnlockKey } = await manager.engine(unlockSchema, { path: "/swarm/unlockkey" }, signal);
  if (UnlockKey === "") return { rotated: false };
  // Proves its form: what does not open anything must not be kept as if it did.
  const key = encodeUnlockKey(decodeUnlockKey(UnlockKey));
  if (key === copied(tools).UnlockKey) return null;
  await writeSecretFile(unlockKeyPath(tools), `${key}\n`);
  return { rotated: true };
}

/** Null where the CA is the copy's, or is being exchanged. */
async function findCa(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult | null> {
  const present = await presentSwarm(tools, signal);
  if (!wasAsked(present, tools) || present.RootRotationInProgress === true) return null;
  return present.TLSInfo.TrustRoot.trim() === copied(tools).TLSInfo.TrustRoot.trim() ? null : { rotated: true };
}

/** Since the copy: an exchange that the copy was amid of ends with a CA whose key the copy has. */
function wasAsked({ Spec }: PresentSwarm, tools: RecoveryTools): boolean {
  return (Spec.CAConfig?.ForceRotate ?? 0) > (copied(tools).Spec.CAConfig?.ForceRotate ?? 0);
}

async function rotateCa(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { signal, onProgress } = context;
  const before = await presentSwarm(tools, signal);
  if (!wasAsked(before, tools)) {
    const down = await unreadyNodes(tools, signal);
    if (down.length > 0) throw waitsFor(down, false);
    const { CAConfig } = before.Spec;
    await updateSwarm(tools, context, {}, { CAConfig: { ...CAConfig, ForceRotate: (CAConfig?.ForceRotate ?? 0) + 1 } });
  }
  const deadline = tools.now() + caTimeoutMs;
  for (;;) {
    let waits = "nodes get new certificates";
    try {
      const done = await findCa(tools, context);
      if (done !== null) return done;
      if (tools.now() > deadline) throw waitsFor(await unreadyNodes(tools, signal), true);
    } catch (error) {
      // Managers go away for a moment while they get theirs.
      if (!(error instanceof SkepError) || error.permanent || tools.now() > deadline) throw error;
      waits = `${waits}; ${error.message}`;
    }
    onProgress(waits, null);
    await sleep(pollMs, undefined, { signal });
  }
}

function waitsFor(down: readonly string[], begun: boolean): SkepError {
  const names = down.length === 0 ? "a node" : down.join(", ");
  return new SkepError({
    code: "SKEP_RECOVERY_ROTATION",
    message: begun
      ? `the CA was not exchanged within ${caTimeoutMs / 1000} s: it waits for ${names}`
      : `the CA is not rotated while ${names} is not ready: that waits for every node`,
    permanent: begun,
    hint: "bring it back, or remove it (docker node rm --force), then the same command goes on; --rotate without ca ends the recovery without it",
  });
}

/** Hostnames. */
async function unreadyNodes(tools: RecoveryTools, signal: AbortSignal): Promise<string[]> {
  const nodes = await machineOf(tools, firstMachine(tools).name).engine(nodesSchema, { path: "/nodes" }, signal);
  return nodes.flatMap(({ Status, Description }) => (Status.State === "ready" ? [] : [Description.Hostname ?? "?"]));
}

async function presentSwarm(tools: RecoveryTools, signal: AbortSignal): Promise<PresentSwarm> {
  return await machineOf(tools, firstMachine(tools).name).engine(presentSchema, { path: "/swarm" }, signal);
}

/** With its tokens, as the swarm was before. */
function copied({ source }: RecoveryTools): z.infer<typeof copiedSchema> {
  const [cluster] = source.swarm.list("cluster");
  return copiedSchema.parse(cluster === undefined ? null : source.swarm.get("cluster", cluster.id, true));
}

async function updateSwarm(
  tools: RecoveryTools,
  { signal }: StepContext,
  query: Readonly<Record<string, boolean>>,
  change: object = {},
): Promise<void> {
  const manager = machineOf(tools, firstMachine(tools).name);
  for (let tries = 1; ; tries++) {
    const { Version, Spec } = await presentSwarm(tools, signal);
    try {
      await manager.askEngine(
        {
          ...{ method: "POST", path: "/swarm/update", body: { ...Spec, ...change } },
          query: { version: Version.Index, ...query },
        },
        signal,
      );
      return;
    } catch (error) {
      if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_CONFLICT" || tries >= mostTries) throw error;
      await sleep(100 * tries, undefined, { signal });
    }
  }
}
