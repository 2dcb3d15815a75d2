// Tasks as probes see them, in tests.
import type {
  PublishedPort,
  RunningTask,
  SwarmSight,
  TaskAddress,
} from "../../../../controller/recovery/probe/running-tasks.ts";

export function attached(address: string, more: Partial<TaskAddress> = {}): TaskAddress {
  return { network: "inside", driver: "overlay", encrypted: false, address, ...more };
}

let number = 0;

export function task(service: string, machine: string | null, more: Partial<RunningTask> = {}): RunningTask {
  number++;
  return {
    id: `t${number}`,
    service,
    machine,
    pid: 100,
    container: "c",
    guarded: false,
    addresses: [],
    hostPorts: [],
    ...more,
  };
}

export function port(published: number, target: number, protocol = "tcp"): PublishedPort {
  return { published, target, protocol };
}

export function sight(tasks: RunningTask[], more: Partial<SwarmSight> = {}): SwarmSight {
  return { tasks, unsettled: new Set(), ingress: [], hostMode: [], ...more };
}
