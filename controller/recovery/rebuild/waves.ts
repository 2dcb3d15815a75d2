// In which order services are released: a service waits for those that it needs. Docker keeps no such order, so it is read
// from what the services say: the label io.skep.after names them, else their environment, command, arguments and health
// check mention a name under which another is found on a network of both. Who needs each other goes at the same time.
import { z } from "zod";
import { stackLabel } from "../../objects/copied-objects.ts";
import type { ServiceSpec } from "../../objects/portable.ts";

/** `io.skep.after: db, shop_cache`: names of services, with or without the stack's prefix. */
export const afterLabel = "io.skep.after";

export interface Released {
  name: string;
  spec: ServiceSpec;
}

/** Services by wave, each sorted by name. `isLast` come after all others. */
export function releaseWaves<Service extends Released>(
  services: readonly Service[],
  isLast: (service: Service) => boolean = () => false,
): Service[][] {
  const sorted = [...services].sort((a, b) => (a.name < b.name ? -1 : 1));
  const needs = new Map(sorted.map((service) => [service.name, needsOf(service, sorted)]));
  const waves: Service[][] = [];
  for (const group of [sorted.filter((service) => !isLast(service)), sorted.filter(isLast)]) {
    let left = group;
    while (left.length > 0) {
      const names = new Set(left.map(({ name }) => name));
      const free = left.filter(({ name }) => !reaches(needs, name, names));
      const wave = free.length > 0 ? free : left;
      waves.push(wave);
      left = left.filter((service) => !wave.includes(service));
    }
  }
  return waves;
}

/** Does it need one of `names` that does not, by whatever way, need it too? */
function reaches(needs: ReadonlyMap<string, ReadonlySet<string>>, name: string, names: ReadonlySet<string>): boolean {
  const below = closure(needs, name);
  return [...below].some((other) => other !== name && names.has(other) && !closure(needs, other).has(name));
}

function closure(needs: ReadonlyMap<string, ReadonlySet<string>>, from: string): Set<string> {
  const seen = new Set<string>();
  const open = [...(needs.get(from) ?? [])];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    open.push(...(needs.get(name) ?? []));
  }
  return seen;
}

function needsOf(service: Released, all: readonly Released[]): Set<string> {
  const stated = service.spec.Labels?.[afterLabel];
  const others = all.filter(({ name }) => name !== service.name);
  if (stated !== undefined) {
    const asked = new Set(stated.split(/[\s,]+/));
    const prefix = `${service.spec.Labels?.[stackLabel] ?? ""}_`;
    const isAsked = (name: string): boolean =>
      asked.has(name) || (name.startsWith(prefix) && asked.has(name.slice(prefix.length)));
    return new Set(others.filter(({ name }) => isAsked(name)).map(({ name }) => name));
  }
  const words = new Set(textsOf(service.spec).flatMap((text) => text.split(/[^A-Za-z0-9_.-]+/)));
  // `db.` of a URL's end, `tasks.db` of Swarm's own names.
  for (const word of [...words]) words.add(word.replace(/^tasks\./, "").replace(/\.$/, ""));
  const found = others.filter((other) => foundAs(other, service).some((name) => words.has(name)));
  return new Set(found.map(({ name }) => name));
}

const saying = z.looseObject({
  Env: z.array(z.string()).nullish(),
  Command: z.array(z.string()).nullish(),
  Args: z.array(z.string()).nullish(),
  Healthcheck: z.looseObject({ Test: z.array(z.string()).nullish() }).nullish(),
});

/** The values of variables, not their names: DB_HOST says nothing of a service DB_HOST. */
function textsOf({ TaskTemplate }: ServiceSpec): string[] {
  const { Env, Command, Args, Healthcheck } = saying.safeParse(TaskTemplate.ContainerSpec ?? {}).data ?? {};
  const values = (Env ?? []).map((variable) => variable.slice(variable.indexOf("=") + 1));
  return [...values, ...(Command ?? []), ...(Args ?? []), ...(Healthcheck?.Test ?? [])];
}

/** The names under which `from` finds `other` by DNS. */
function foundAs(other: Released, from: Released): string[] {
  const shared = new Set(networksOf(from.spec).map(({ Target }) => Target));
  const common = networksOf(other.spec).filter(({ Target }) => shared.has(Target));
  return common.length === 0 ? [] : [other.name, ...common.flatMap(({ Aliases }) => Aliases ?? [])];
}

function networksOf(spec: ServiceSpec): { Target?: string | undefined; Aliases?: string[] | null | undefined }[] {
  return [...(spec.TaskTemplate.Networks ?? []), ...(spec.Networks ?? [])];
}
