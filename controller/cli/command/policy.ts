// skep policy: what is backed up, and when. The versioned policy lives in the store; the controller writes it.
import type { Command } from "commander";
import { stringify } from "yaml";
import { policyAnswerSchema } from "../../api/schemas.ts";
import { decodePolicy } from "../../policy.ts";
import { accessApi, addApiOptions, addKitOption, type ApiOptions } from "../access.ts";
import type { PolicyCheckDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import { readInputFile } from "../input-file.ts";
import { describe, run, type Session } from "../session.ts";

export function register(program: Command): void {
  const policy = program.command("policy").description("show, check or change what is backed up, and when");
  const show = policy.command("show").description("print the policy that counts now, as YAML");
  addApiOptions(addKitOption(show));
  run(describe(show, "skep policy show --kit skep-kit > policy.yaml"), showPolicy);
  const set = policy.command("set <file>").description("make a file's policy the next version; - reads standard input");
  addApiOptions(addKitOption(set));
  run(describe(set, "skep policy set policy.yaml --kit skep-kit"), setPolicy);
  const check = policy
    .command("check <file>")
    .description("name every fault of a file's policy, with line and example");
  run(describe(check, "skep policy check policy.yaml"), checkPolicy);
}

async function showPolicy({ output, signal }: Session, options: ApiOptions): Promise<ExitCode> {
  const api = await accessApi(options);
  const answer = await api.call({ path: "/v1/policy", schema: policyAnswerSchema }, signal);
  output.document(answer);
  output.say(`policy version ${answer.version}`);
  output.print(stringify(answer.policy).trimEnd());
  return exitCodes.done;
}

async function setPolicy({ output, signal }: Session, options: ApiOptions, file: string): Promise<ExitCode> {
  const text = await readInputFile(file, "the policy");
  decodePolicy(text, file);
  const api = await accessApi(options);
  const answer = await api.call({ method: "PUT", path: "/v1/policy", body: text, schema: policyAnswerSchema }, signal);
  output.document(answer);
  output.print(`policy version ${answer.version} counts from now on`);
  return exitCodes.done;
}

async function checkPolicy({ output }: Session, _options: object, file: string): Promise<ExitCode> {
  const policy = decodePolicy(await readInputFile(file, "the policy"), file);
  const document: PolicyCheckDocument = { valid: true, policy };
  output.document(document);
  output.print(`${file} is a valid policy`);
  return exitCodes.done;
}
