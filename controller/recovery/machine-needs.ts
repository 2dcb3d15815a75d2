// What services and volumes need of the machines that they come to: ports, drivers, room for their reservations, an
// architecture. Pure; what is missing is pointed out beforehand, for a task that waits for it waits for ever.
import { z } from "zod";
import type { MachineFacts } from "./machine-facts.ts";
import { mayMeet, renameConstraint } from "./placement.ts";
import type { ExaminedPlan, Finding } from "./recovery-plan.ts";
import type { OldService } from "./swarm-view.ts";

type Say = (severity: Finding["severity"], code: string, text: string) => void;

type NeedyPlan = Pick<ExaminedPlan, "machines" | "services" | "volumes" | "renamed" | "runJobs">;

const amount = z.union([z.number(), z.string()]).optional();
const needsSchema = z.looseObject({
  TaskTemplate: z.looseObject({
    ContainerSpec: z
      .looseObject({
        Mounts: z
          .array(
            z.looseObject({
              VolumeOptions: z
                .looseObject({ DriverConfig: z.looseObject({ Name: z.string().optional() }).nullish() })
                .nullish(),
            }),
          )
          .nullish(),
      })
      .nullish(),
    LogDriver: z.looseObject({ Name: z.string().optional() }).nullish(),
    Placement: z.looseObject({ MaxReplicas: amount }).nullish(),
    Resources: z
      .looseObject({ Reservations: z.looseObject({ NanoCPUs: amount, MemoryBytes: amount }).nullish() })
      .nullish(),
  }),
});

interface Needs {
  ports: { name: string; port: number; protocol: string; host: boolean }[];
  volumeDrivers: string[];
  logDriver: string;
  memoryBytes: number;
  cpus: number;
  /** Tasks that one node may have; 0 for any number. */
  mostOnOne: number;
}

export function examineNeeds(plan: NeedyPlan, say: Say): void {
  const placed = plan.services
    .filter(({ mode }) => mode !== "job" || plan.runJobs)
    .map((service) => ({ service, needs: needsOf(service), machines: possibleMachines(plan, service) }));
  const published = new Map<string, string>();
  for (const { service, needs, machines } of placed) {
    // Nowhere at all is said elsewhere.
    if (machines.length === 0) continue;
    examinePorts(service, needs, machines, published, say);
    const lacking = (drivers: readonly string[]): string[] =>
      machines.filter(({ drivers: has }) => drivers.some((driver) => !has.includes(driver))).map(({ name }) => name);
    for (const driver of needs.volumeDrivers) {
      const names = lacking([`volume ${driver}`]);
      if (names.length > 0)
        say("warning", "driver", `${service.name} needs the volume driver ${driver}, which ${names.join(", ")} lacks`);
    }
    if (needs.logDriver !== "") {
      const names = lacking([`log ${needs.logDriver}`]);
      if (names.length > 0)
        say(
          "warning",
          "driver",
          `${service.name} needs the log driver ${needs.logDriver}, which ${names.join(", ")} lacks`,
        );
    }
    if (!machines.some(({ memoryBytes, cpus }) => memoryBytes >= needs.memoryBytes && cpus >= needs.cpus)) {
      const what = `${needs.memoryBytes} bytes of memory and ${needs.cpus} CPUs`;
      say(
        "warning",
        "reservation",
        `${service.name} reserves ${what} for a task, which no machine has that it may run on`,
      );
    }
    const most = needs.mostOnOne * machines.length;
    if (needs.mostOnOne > 0 && service.mode === "replicated" && service.replicas > most) {
      say(
        "warning",
        "replicas",
        `${service.name} shall have ${service.replicas} tasks, at most ${needs.mostOnOne} on one machine, and may run on ${machines.length}`,
      );
    }
  }
  for (const { source, machine } of plan.volumes) {
    const facts = plan.machines.find(({ name }) => name === machine)?.facts;
    const { driver } = source.part.volume;
    if (facts === undefined || facts.drivers.includes(`volume ${driver}`) || driver === "local") continue;
    say(
      "error",
      "volume-driver",
      `volume ${source.id} has the driver ${driver}, which ${machine} lacks: install the plugin first, or leave the volume out: --without-volume`,
    );
  }
  for (const { name, facts, replaces } of plan.machines) {
    for (const { hostname, architecture } of replaces) {
      if (architecture === "" || architecture === facts.architecture) continue;
      say(
        "warning",
        "architecture-changed",
        `${name} is a machine of ${facts.architecture}, ${hostname} was one of ${architecture}: images must be there for both`,
      );
    }
  }
}

function examinePorts(
  { name, mode }: OldService,
  needs: Needs,
  machines: readonly MachineFacts[],
  published: Map<string, string>,
  say: Say,
): void {
  for (const { port, protocol, host } of needs.ports) {
    for (const { name: machine, listening, listeningUdp, swarmState } of machines) {
      const taken = protocol === "udp" ? listeningUdp : listening;
      // In a swarm already it may be the service itself.
      if (swarmState === "inactive" && taken.includes(port)) {
        say(
          "warning",
          "published-port",
          `${name} publishes port ${port}/${protocol}, on which somebody listens on ${machine}`,
        );
      }
      if (!host || (machines.length > 1 && mode !== "global")) continue;
      const key = `${machine} ${port}/${protocol}`;
      const other = published.get(key);
      if (other !== undefined && other !== name) {
        say(
          "warning",
          "port-twice",
          `${other} and ${name} both publish port ${port}/${protocol} of ${machine}: one of them will wait`,
        );
      }
      published.set(key, name);
    }
  }
}

/** Facts of the machines on which it may run. */
function possibleMachines({ machines, renamed }: NeedyPlan, { constraints }: OldService): MachineFacts[] {
  const ids = new Map(machines.flatMap(({ name, replaces }) => replaces.map(({ id }) => [id, name] as const)));
  const now = constraints.map((text) => renameConstraint(text, { ids, hostnames: renamed }));
  return machines.flatMap(({ name, role, facts, dress }) =>
    mayMeet({ id: name, hostname: facts.hostname, role, labels: dress.labels }, now) ? [facts] : [],
  );
}

function needsOf({ spec }: OldService): Needs {
  const { TaskTemplate: template } = needsSchema.parse(spec);
  const { Reservations } = template.Resources ?? {};
  return {
    ports: (spec.EndpointSpec?.Ports ?? []).flatMap(({ PublishedPort, Protocol, PublishMode }) =>
      PublishedPort === undefined || PublishedPort === 0
        ? []
        : [{ name: spec.Name ?? "", port: PublishedPort, protocol: Protocol ?? "tcp", host: PublishMode === "host" }],
    ),
    volumeDrivers: [
      ...new Set(
        (template.ContainerSpec?.Mounts ?? []).flatMap(({ VolumeOptions }) => {
          const driver = VolumeOptions?.DriverConfig?.Name ?? "";
          return driver === "" || driver === "local" ? [] : [driver];
        }),
      ),
    ],
    logDriver: ["", "none"].includes(template.LogDriver?.Name ?? "") ? "" : (template.LogDriver?.Name ?? ""),
    memoryBytes: Number(Reservations?.MemoryBytes ?? 0),
    cpus: Number(Reservations?.NanoCPUs ?? 0) / 1e9,
    mostOnOne: Number(template.Placement?.MaxReplicas ?? 0),
  };
}
