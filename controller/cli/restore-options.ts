// The flags of the restore commands.
import { Option, type Command } from "commander";
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
  loadInto?: string;
  readCredentials?: string;
  yes?: boolean;
}

export function addRestoreOptions(command: Command): void {
  command
    .addOption(new Option("--run <run>", "from this run").default("latest", "the newest that has the volume"))
    .option("--to-node <node>", "to another node than it was taken on")
    .option("--as <name>", "to a volume of another name")
    .option("--stop", "hold the services that use the volume meanwhile")
    .option("--load-into <container>", "a dump: by its command in this container or service, not in its own")
    .option("--read-credentials <file>", "of the store, for the agent's reading, where its own may only create")
    .option("--yes", "do it without being asked");
  addPlaceOptions(command);
}

/** Of undo and discard. */
export interface EndOptions extends ApiOptions, IdentityOptions, HostOptions {
  yes?: boolean;
}

export function addEndOptions(command: Command): void {
  addPlaceOptions(command.option("--yes", "do it without being asked"));
}

/** Where restores are: at the controller, or on this machine. */
export function addPlaceOptions(command: Command): void {
  addHostOptions(addStoreOptions(addIdentityOption(addApiOptions(addKitOption(command)))));
}
