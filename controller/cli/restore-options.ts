// The flags of the restore commands.
import type { Command } from "commander";
import {
  addApiOptions,
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type ApiOptions,
  type IdentityOptions,
} from "./access.ts";
import { addHostOptions, type HostOptions } from "./standalone/host.ts";

export interface RestoreOptions extends ApiOptions, IdentityOptions, HostOptions {
  run: string;
  toNode?: string;
  as?: string;
  stop?: boolean;
  yes?: boolean;
}

export function addRestoreOptions(command: Command): void {
  command
    .option("--run <run>", "from this run (default: the newest that has the volume)", "latest")
    .option("--to-node <node>", "to another node than it was taken on")
    .option("--as <name>", "to a volume of another name")
    .option("--stop", "hold the services that use the volume meanwhile")
    .option("--yes", "do it without being asked");
  addHostOptions(addStoreOptions(addIdentityOption(addApiOptions(addKitOption(command)))));
}

/** Of undo and discard. */
export interface EndOptions extends ApiOptions, IdentityOptions, HostOptions {
  yes?: boolean;
}

export function addEndOptions(command: Command): void {
  command.option("--yes", "do it without being asked");
  addHostOptions(addStoreOptions(addIdentityOption(addApiOptions(addKitOption(command)))));
}
