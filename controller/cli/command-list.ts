// Every command of `skep --help`, in its order, and the file that has it. Only the one that is asked for is loaded:
// `skep version` loads no S3 client, and the list of commands none of them.
import type { Command } from "commander";

export interface CommandEntry {
  /** As in the command's own help. */
  description: string;
  load: () => Promise<{ register: (program: Command) => void }>;
}

export const commandList: ReadonlyMap<string, CommandEntry> = new Map<string, CommandEntry>([
  [
    "init",
    {
      description: "make the keys and the repository, and write the kit folder",
      load: () => import("./command/init.ts"),
    },
  ],
  ["doctor", { description: "look whether backups and restores will work", load: () => import("./command/doctor.ts") }],
  ["agents", { description: "list the nodes' agents", load: () => import("./command/agents.ts") }],
  ["backup", { description: "make a run now", load: () => import("./command/backup.ts") }],
  [
    "resume",
    {
      description: "let go what a standalone backup that was killed left paused or stopped on this machine",
      load: () => import("./command/resume.ts"),
    },
  ],
  ["runs", { description: "list the runs, newest first", load: () => import("./command/runs.ts") }],
  ["show", { description: "show a run: what it covers, what not, and why", load: () => import("./command/show.ts") }],
  ["ls", { description: "list the parts of a run, or what is in a volume", load: () => import("./command/ls.ts") }],
  [
    "diff",
    { description: "tell what changed between two runs, or in a volume", load: () => import("./command/diff.ts") },
  ],
  [
    "export",
    {
      description: "write a volume, or what is at a path of it, as a tar to standard output",
      load: () => import("./command/export.ts"),
    },
  ],
  [
    "restore",
    {
      description: "bring back a volume or an object of the swarm, or undo that",
      load: () => import("./command/restore.ts"),
    },
  ],
  ["recipient", { description: "who may open the backups", load: () => import("./command/recipient.ts") }],
  ["key", { description: "keys of the repository", load: () => import("./command/key.ts") }],
  [
    "kit",
    {
      description: "what a bare machine needs to restore: kept in the store, beside the data",
      load: () => import("./command/kit.ts"),
    },
  ],
  [
    "check",
    { description: "look whether all that the runs need is there, and well", load: () => import("./command/check.ts") },
  ],
  [
    "forget",
    {
      description: "let runs no longer count: those that the policy does not keep, or those that are named",
      load: () => import("./command/forget.ts"),
    },
  ],
  ["prune", { description: "give back the space of what no kept run needs", load: () => import("./command/prune.ts") }],
  [
    "compact",
    {
      description: "write anew what kept runs need of packs that are mostly dead, for a prune to free them",
      load: () => import("./command/compact.ts"),
    },
  ],
  [
    "protect",
    { description: "lock what kept runs need, so that nobody deletes it", load: () => import("./command/protect.ts") },
  ],
  ["service", { description: "look after services that backups stopped", load: () => import("./command/service.ts") }],
  [
    "recover",
    { description: "rebuild the swarm from a run, onto other machines", load: () => import("./command/recover.ts") },
  ],
  [
    "runbook",
    {
      description: "print how the cluster of a run comes back by hand, without Skep",
      load: () => import("./command/runbook.ts"),
    },
  ],
  [
    "policy",
    { description: "show, check or change what is backed up, and when", load: () => import("./command/policy.ts") },
  ],
  [
    "raft",
    {
      description: "read a swarm's Raft state: a directory, a file with one, or a run",
      load: () => import("./command/raft.ts"),
    },
  ],
  [
    "swarm",
    { description: "a swarm's whole state as one encrypted file, and back", load: () => import("./command/swarm.ts") },
  ],
  ["agent", { description: "the agent of this node", load: () => import("./command/daemon.ts") }],
  [
    "controller",
    {
      description: "run the controller; it is set up by SKEP_… variables (docs/OPERATIONS.md)",
      load: () => import("./command/daemon.ts"),
    },
  ],
  [
    "version",
    { description: "show the versions of the CLI and of the controller", load: () => import("./command/version.ts") },
  ],
]);
