// A machine of the inventory as the steps see it: commands as root, its Docker engine, and a connection that is made anew
// when it was lost.
import { request, type Agent } from "node:http";
import type { Duplex } from "node:stream";
import type { z } from "zod";
import { SkepError, type ErrorCode } from "../../shared/errors.ts";
import { shapeFaults } from "../../shared/fault-list.ts";
import { streamAgent } from "../engine/stream-agent.ts";
import type { SshAccess } from "./ssh-access.ts";
import { connectSsh, type CommandOptions, type CommandResult, type SshMachine } from "./ssh.ts";

export interface EngineCall {
  method?: "GET" | "POST" | "DELETE";
  path: string;
  query?: Readonly<Record<string, string | number | boolean>>;
  body?: unknown;
  /** Value of X-Registry-Auth, for calls that make the engine ask a registry. */
  registryAuth?: string | null;
  /** Default 120 s. */
  timeoutMs?: number;
}

const defaultTimeoutMs = 120_000;
/** A swarm of thousands of services and tasks. */
const maxAnswerBytes = 256 * 1024 * 1024;
export const defaultDockerSocket = "/var/run/docker.sock";

export class RemoteMachine {
  readonly name: string;
  readonly #access: SshAccess;
  readonly #socketPath: string;
  readonly #closing = new AbortController();
  readonly #agent = streamAgent(() => this.#openEngine(this.#closing.signal));
  #connecting: Promise<SshMachine> | null = null;
  /** Set once sshd refused the way to the socket: then the docker command there carries the engine's API. */
  #byCommand: boolean;

  constructor(access: SshAccess, socketPath: string) {
    this.name = access.name;
    this.#access = access;
    this.#socketPath = socketPath;
    // The socket belongs to root: a user who needs sudo could not open it.
    this.#byCommand = access.sudo;
  }

  /** The connection; a lost one is made anew. Throws what connectSsh throws. */
  async ssh(signal: AbortSignal): Promise<SshMachine> {
    const known = await this.#connecting?.catch(() => null);
    if (known?.isOpen === true) return known;
    this.#connecting = connectSsh(this.#access, signal);
    return await this.#connecting;
  }

  /** Runs it as root, whatever its exit code. */
  async run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
    return await (await this.ssh(options.signal)).run(argv, options);
  }

  /** Its standard output. Throws SKEP_RECOVERY_COMMAND where it ends with another code than 0. */
  async mustRun(argv: readonly string[], options: CommandOptions): Promise<string> {
    const { code, stdout, stderr } = await this.run(argv, options);
    if (code === 0) return stdout;
    // Of a script only its arguments are of interest.
    const shown = argv[1] === "-c" ? argv.slice(3) : argv;
    throw new SkepError({
      code: "SKEP_RECOVERY_COMMAND",
      message: `on ${this.name} ${shown.join(" ")} ended with code ${code}: ${stderr.trim()}`,
      permanent: false,
      hint: "look at that machine: is there room on its disks, and are these programs there?",
    });
  }

  async openTcp(host: string, port: number, signal: AbortSignal): Promise<Duplex> {
    return await (await this.ssh(signal)).openTcp(host, port);
  }

  /** The answer's JSON, null for none. Throws SKEP_DOCKER_UNREACHABLE, or what stands for a refusal. */
  async askEngine(call: EngineCall, signal: AbortSignal): Promise<unknown> {
    const doing = `${call.method ?? "GET"} ${call.path}`;
    const agent = await this.engineAgent(signal);
    let answer: { status: number; text: string };
    try {
      answer = await exchange(agent, call, signal);
    } catch (error) {
      signal.throwIfAborted();
      const why = error instanceof Error ? error.message : String(error);
      throw dockerError(
        "SKEP_DOCKER_UNREACHABLE",
        `the engine of ${this.name} does not answer ${doing}: ${why}`,
        error,
      );
    }
    const { status, text } = answer;
    if (status >= 400) throw this.#refusal(doing, status, messageOf(text));
    return text.trim() === "" ? null : parseAnswer(text);
  }

  /** As askEngine, checked. Throws SKEP_DOCKER_ANSWER_INVALID. */
  async engine<T>(schema: z.ZodType<T>, call: EngineCall, signal: AbortSignal): Promise<T> {
    const parsed = schema.safeParse(await this.askEngine(call, signal));
    if (parsed.success) return parsed.data;
    throw new SkepError({
      code: "SKEP_DOCKER_ANSWER_INVALID",
      message: `the engine of ${this.name} answered ${call.path} in another shape: ${shapeFaults(parsed.error)}`,
      permanent: true,
      hint: "is this engine older than 20.10, or not Docker?",
    });
  }

  /** Makes connections to the engine, for node:http; the machine itself is connected. Throws as ssh does. */
  async engineAgent(signal: AbortSignal): Promise<Agent> {
    await this.ssh(signal);
    return this.#agent;
  }

  async #openEngine(signal: AbortSignal): Promise<Duplex> {
    return Object.assign(await this.#openChannel(signal), socketMethods);
  }

  async #openChannel(signal: AbortSignal): Promise<Duplex> {
    const ssh = await this.ssh(signal);
    if (!this.#byCommand) {
      try {
        return await ssh.openSocket(this.#socketPath);
      } catch (error) {
        if (!(error instanceof SkepError) || error.code !== "SKEP_SSH_FORWARD") throw error;
        this.#byCommand = true;
      }
    }
    return await ssh.openCommand(["docker", "-H", `unix://${this.#socketPath}`, "system", "dial-stdio"], signal);
  }

  #refusal(doing: string, status: number, said: string): SkepError {
    let code: ErrorCode = "SKEP_DOCKER_FAILED";
    if (status === 404) code = "SKEP_DOCKER_NOT_FOUND";
    else if (status === 409 || said.includes("update out of sequence")) code = "SKEP_DOCKER_CONFLICT";
    else if (status === 503 && /not a swarm manager|not part of a swarm/i.test(said)) code = "SKEP_DOCKER_NOT_MANAGER";
    return new SkepError({
      code,
      message: `the engine of ${this.name} refused ${doing}: ${said.trim()}`,
      permanent: status < 500 && code !== "SKEP_DOCKER_CONFLICT",
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#agent.destroy();
    (await this.#connecting?.catch(() => null))?.close();
  }
}

function dockerError(code: ErrorCode, message: string, cause: unknown): SkepError {
  const hint = "is the engine running, and may the inventory's user reach its socket (sudo: true)?";
  return new SkepError({ code, message, permanent: false, hint, cause });
}

function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === "string" ? message : text;
  } catch {
    return text;
  }
}

/** The progress of a pull is lines of JSON: then the last one is the answer. */
function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    const last = text.trim().split("\n").at(-1) ?? "";
    try {
      return JSON.parse(last) as unknown;
    } catch {
      return text;
    }
  }
}

/** What node:http calls on a socket and an SSH channel lacks. */
const socketMethods = {
  setTimeout: () => undefined,
  setKeepAlive: () => undefined,
  setNoDelay: () => undefined,
  ref: () => undefined,
  unref: () => undefined,
  destroySoon(this: Duplex) {
    this.destroy();
  },
};

async function exchange(
  agent: Agent,
  call: EngineCall,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const query = Object.entries(call.query ?? {}).map(([name, value]): [string, string] => [name, String(value)]);
  const search = query.length === 0 ? "" : `?${new URLSearchParams(query).toString()}`;
  const body = call.body === undefined ? null : Buffer.from(JSON.stringify(call.body), "utf8");
  const ended = AbortSignal.any([signal, AbortSignal.timeout(call.timeoutMs ?? defaultTimeoutMs)]);
  const headers = {
    ...(body !== null && { "content-length": body.length, "content-type": "application/json" }),
    ...(call.registryAuth != null && { "x-registry-auth": call.registryAuth }),
  };
  return await new Promise((resolve, reject) => {
    const method = call.method ?? "GET";
    const asked = request({ host: "docker", method, path: `${call.path}${search}`, headers, signal: ended, agent });
    let isAnswered = false;
    asked.on("error", (error) => {
      // A stream that was kept may have ended while nobody used it: what only reads is asked again, whatever changes
      // something is for the step to try again, which looks first what was done.
      const isStale = asked.reusedSocket && method === "GET" && !isAnswered && !ended.aborted;
      if (isStale) resolve(exchange(agent, call, signal));
      else reject(error);
    });
    asked.on("response", (response) => {
      isAnswered = true;
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => {
        text += piece;
        if (text.length > maxAnswerBytes) asked.destroy(new Error("the answer is too large"));
      });
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, text });
      });
      response.on("error", reject);
    });
    asked.end(body);
  });
}
