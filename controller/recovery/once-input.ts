// What agent/once.ts on a machine of the recovery is given on standard input.
import type { RestoreKeys, Task } from "../../shared/contract/job.ts";
import type { OnceInput } from "../../shared/contract/once.ts";
import { kitOn, plannedMachine, type RecoveryTools } from "./recovery-tools.ts";

const jobHours = 7 * 24;

/** `name`: twelve of digits and small letters, the same whenever this one thing is begun again. */
export function onceInput(
  tools: RecoveryTools,
  wanted: { machine: string; name: string; task: Task; writerId: string; identityKeys: RestoreKeys },
): OnceInput {
  const { machine, name, task, writerId, identityKeys } = wanted;
  const { repositoryId, incarnation, epoch } = tools.operator.repositoryObject;
  const now = tools.now();
  return {
    job: {
      version: 1,
      id: `recover-${name}`,
      repositoryId,
      incarnation,
      target: { kind: "node", nodeId: writerId },
      issuedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + jobHours * 3_600_000).toISOString(),
      maxAttempts: 10,
      task,
    },
    writerId,
    // A restore writes nothing to the store; the key that would is not given away.
    writerKey: Buffer.alloc(32).toString("base64"),
    epoch,
    store: tools.location,
    credentials: tools.credentials,
    identityKeys,
    hostRoot: "/",
    stateDir: `${kitOn(tools, machine).stateDir}-${name}`,
    dockerSocket: plannedMachine(tools, machine).dockerSocket,
  };
}
