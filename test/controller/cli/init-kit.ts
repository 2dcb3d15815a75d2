// What most tests of commands begin with: a repository in a folder and its kit.
import { expect } from "chai";
import { runCli } from "./run-cli.ts";

/** Makes `folder`/store and `folder`/kit, for the operator anna. */
export async function initKit(folder: string): Promise<void> {
  const store = `file://${folder}/store`;
  const argv = ["init", "--no-stored-kit", "--store", store, "--operator", "anna", "--out", "kit"];
  const made = await runCli(argv, { cwd: folder });
  expect(made.code, made.stderr).to.equal(0);
}
