// skep agents: which nodes have an agent, since when, with which key; and the word that a new key is to be trusted.
import type { Command } from "commander";
import { agentSchema, agentsSchema, type Agent } from "../../api/schemas.ts";
import { accessApi, addApiOptions, addKitOption, type ApiOptions } from "../access.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { findNode } from "../nodes.ts";
import { describe, run, type Session } from "../session.ts";
import { table } from "../table.ts";

export function register(program: Command): void {
  const agents = program.command("agents").description("list the nodes' agents");
  addApiOptions(addKitOption(agents));
  run(describe(agents, "skep agents --kit skep-kit"), list);
  const approve = agents
    .command("approve <node>")
    .description("trust the key with which a node's agent came back")
    .requiredOption("--fingerprint <text>", "the fingerprint that the node's agent itself shows in its log");
  addApiOptions(addKitOption(approve));
  run(describe(approve, "skep agents approve node2 --fingerprint SHA256:…"), approveKey);
}

async function list({ output, signal }: Session, options: ApiOptions): Promise<ExitCode> {
  const api = await accessApi(options);
  const answer = await api.call({ path: "/v1/agents", schema: agentsSchema }, signal);
  output.document(answer);
  const now = Date.now();
  output.print(
    table(
      output,
      [
        { head: "NODE", cell: ({ hostname }) => format.visible(hostname) },
        { head: "ID", cell: ({ nodeId }) => nodeId },
        { head: "ROLE", cell: ({ role, leader }) => (leader ? "leader" : role) },
        { head: "STATE", cell: (agent) => output.style(...styledState(agent, now)) },
        { head: "SEEN", cell: ({ lastSeenAt }) => (lastSeenAt === null ? "never" : format.age(lastSeenAt, now)) },
        { head: "SKEP", cell: ({ skepVersion }) => format.visible(skepVersion) },
        { head: "ENGINE", cell: ({ engineVersion }) => format.visible(engineVersion) },
        { head: "KEY", cell: ({ fingerprint }) => fingerprint.slice(0, 19) },
      ],
      answer.agents,
    ),
  );
  if (answer.agents.length === 0)
    output.say("no agent has come yet: is the stack deployed? `docker service ps skep_agent`");
  for (const agent of answer.agents) {
    for (const problem of agent.problems) output.warn(`${format.visible(agent.hostname)}: ${format.visible(problem)}`);
    if (agent.state === "waiting") {
      output.warn(`${format.visible(agent.hostname)} came back with another key, ${agent.fingerprint}`);
      output.say(
        `         If the node was set up anew: skep agents approve ${agent.nodeId} --fingerprint ${agent.fingerprint}`,
      );
    }
  }
  return exitCodes.done;
}

/** Seen within the last minute, three heartbeats and some: it is there. */
const presentMs = 60_000;

function styledState({ state, lastSeenAt, problems }: Agent, now: number): ["green" | "yellow" | "red", string] {
  if (state === "waiting") return ["yellow", "waiting"];
  if (lastSeenAt === null || now - Date.parse(lastSeenAt) > presentMs) return ["red", "gone"];
  return problems.length > 0 ? ["yellow", "problems"] : ["green", "ready"];
}

async function approveKey(
  { output, signal }: Session,
  options: ApiOptions & { fingerprint: string },
  node: string,
): Promise<ExitCode> {
  const api = await accessApi(options);
  const { agents } = await api.call({ path: "/v1/agents", schema: agentsSchema }, signal);
  const { nodeId } = findNode(agents, node);
  const agent = await api.call(
    {
      method: "POST",
      path: `/v1/agents/${nodeId}/approve`,
      body: { fingerprint: options.fingerprint },
      schema: agentSchema,
    },
    signal,
  );
  output.document(agent);
  output.print(`${format.visible(agent.hostname)} (${agent.nodeId}) is trusted with ${agent.fingerprint}`);
  return exitCodes.done;
}
