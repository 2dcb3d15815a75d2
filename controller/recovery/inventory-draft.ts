// A first inventory, written from a run for a person to complete: one machine for each node that the run knows. Pure.
import type { Run } from "../../shared/repository/run.ts";

export function draftInventory(run: Pick<Run, "id" | "startedAt" | "nodes">): string {
  const names = new Map<string, string>();
  for (const { id, hostname } of run.nodes) names.set(id, uniqueName(hostname, new Set(names.values())));
  const twins = new Set(
    run.nodes.filter((node) => run.nodes.some((other) => other !== node && other.hostname === node.hostname)),
  );
  const machines = run.nodes.map(
    ({ id, role, address }) =>
      `  ${names.get(id) ?? ""}: { address: CHANGE-ME, role: ${role === "manager" ? "manager" : "worker"} } # was at ${address || "an unknown address"}`,
  );
  const nodes = run.nodes.map(
    (node) => `  ${twins.has(node) ? node.id : JSON.stringify(node.hostname)}: ${names.get(node.id) ?? ""}`,
  );
  return `# Inventory for a recovery from run ${run.id} of ${run.startedAt}.
# Every field: docs/RUNBOOK.md. Check with: skep recover plan --inventory THIS-FILE
version: 1

# How to come into the machines; a machine may say otherwise. Paths are relative to this file.
ssh:
  user: root
  key: ~/.ssh/id_ed25519
  # agent: true                     # use ssh-agent instead of a key
  # sudo: true                      # the user is not root
  # sudoPasswordFile: sudo-password
  # jump: { address: bastion.example.org, user: anna }

# The new machines: Docker and sshd, in no swarm. The first manager is made first.
machines:
${machines.join("\n")}

# What became of each node: the machine that takes its place, gone, or (mode quorum) survives.
nodes:
${nodes.join("\n")}
`;
}

/** As the inventory takes names; `gone` and `survives` have a meaning. */
function uniqueName(hostname: string, taken: ReadonlySet<string>): string {
  const plain =
    hostname
      .replaceAll(/[^A-Za-z0-9._-]/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 50) || "machine";
  const base = plain === "gone" || plain === "survives" ? `${plain}-1` : plain;
  for (let number = 1; ; number++) {
    const name = number === 1 ? base : `${base}-${number}`;
    if (!taken.has(name)) return name;
  }
}
