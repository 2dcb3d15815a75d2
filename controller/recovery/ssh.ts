// The one door to other machines: SSH. What comes out of it are commands that ran, streams, and SkepErrors.
//
// A command is an argument list, quoted in one place. With `sudo` every command runs as
// `sudo … -- /bin/sh -c 'exec "$@"' sh ARGUMENTS`, so that one rule of sudoers serves all; a password goes to sudo on
// standard input, ahead of the command's own. Files go the same way, so a machine without SFTP will do. Host keys are
// checked: an unknown one is refused.
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { Client, type ClientChannel, type ConnectConfig, type ServerHostKeyAlgorithm } from "ssh2";
import type { SkepError } from "../../shared/errors.ts";
import { forbiddenText } from "./connect-in-time.ts";
import { quoteArguments } from "./quote-arguments.ts";
import type { SshAccess } from "./ssh-access.ts";
import { hostFault, loginFault, sshFault } from "./ssh-faults.ts";

export interface CommandOptions {
  signal: AbortSignal;
  /** What its standard input is; without it empty. */
  input?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Told each piece of its standard output, which is then not kept. */
  onStdout?: (piece: Buffer) => void;
  /** Default 60 s. */
  timeoutMs?: number;
}

export interface CommandResult {
  code: number;
  stdout: string;
  /** Its last 8 KiB. */
  stderr: string;
}

export interface SshMachine {
  readonly name: string;
  /** False once the connection is lost: make another. */
  readonly isOpen: boolean;
  /** Runs it to its end, whatever its exit code. Throws SKEP_SSH_LOST, SKEP_SSH_TIMEOUT, SKEP_SSH_SUDO, SKEP_SSH_OUTPUT. */
  run(argv: readonly string[], options: CommandOptions): Promise<CommandResult>;
  /** A stream to a UNIX socket of the machine, as its user. Throws SKEP_SSH_FORWARD where sshd forbids it. */
  openSocket(path: string): Promise<Duplex>;
  /** A stream to an address that the machine reaches. Throws SKEP_SSH_FORWARD. */
  openTcp(host: string, port: number): Promise<Duplex>;
  /** A running command's standard input and output as one stream. */
  openCommand(argv: readonly string[], signal: AbortSignal): Promise<Duplex>;
  close(): void;
}

const connectTimeoutMs = 20_000;
/** A machine that answers nothing for three times this is given up. */
const keepaliveMs = 10_000;
const outputLimitBytes = 16 * 1024 * 1024;
const stderrBytes = 8192;
const defaultTimeoutMs = 60_000;
/** How long a command that was told to stop may take before its channel is closed. */
const stopGraceMs = 3_000;

/** Throws SKEP_SSH_UNREACHABLE, SKEP_SSH_HOST_UNKNOWN, SKEP_SSH_HOST_CHANGED, SKEP_SSH_DENIED, SKEP_SSH_SUDO. */
export async function connectSsh(access: SshAccess, signal: AbortSignal): Promise<SshMachine> {
  signal.throwIfAborted();
  const jump = access.jump === null ? null : await connectSsh({ ...access.jump, sudo: false }, signal);
  try {
    const socket = jump === null ? null : await jump.openTcp(access.address, access.port);
    const client = await login(access, socket, signal);
    const machine = new Machine(access, client, jump);
    if (access.sudo) await machine.prepareSudo(signal);
    return machine;
  } catch (error) {
    jump?.close();
    throw error;
  }
}

async function login(access: SshAccess, socket: Duplex | null, signal: AbortSignal): Promise<Client> {
  const client = new Client();
  const refused: { fault: SkepError | null } = { fault: null };
  const config: ConnectConfig = {
    host: access.address,
    port: access.port,
    username: access.user,
    readyTimeout: connectTimeoutMs,
    keepaliveInterval: keepaliveMs,
    keepaliveCountMax: 3,
    ...(socket !== null && { sock: socket }),
    ...(access.privateKey !== null && { privateKey: access.privateKey }),
    ...(access.agent !== null && { agent: access.agent }),
    ...(access.password !== null && { password: access.password }),
    ...(access.known.types.length > 0 && { algorithms: { serverHostKey: algorithmsFor(access.known.types) } }),
    hostVerifier: (key: Buffer) => {
      refused.fault = hostFault(access, key);
      return refused.fault === null;
    },
  };
  const abort = (): void => {
    client.destroy();
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      client.once("ready", resolve);
      client.once("error", reject);
      client.once("close", () => {
        reject(new Error("the connection was closed"));
      });
      client.connect(config);
    });
    // Losing it later is told to whoever has a command running; without this it would end the process.
    client.on("error", () => undefined);
    return client;
  } catch (error) {
    client.on("error", () => undefined);
    client.destroy();
    signal.throwIfAborted();
    throw refused.fault ?? loginFault(access, error);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** An RSA key serves several signature algorithms. */
function algorithmsFor(types: readonly string[]): ServerHostKeyAlgorithm[] {
  const names = types.flatMap((type) => (type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] : [type]));
  return names as ServerHostKeyAlgorithm[];
}

/** `sudo -S` reads its password byte by byte up to the line end: what follows is the command's. */
const sudoAsking = ["sudo", "-k", "-S", "-p", "", "--"] as const;
const sudoSilent = ["sudo", "-k", "-n", "--"] as const;
const asIs = ["/bin/sh", "-c", 'exec "$@"', "sh"] as const;

class Machine implements SshMachine {
  readonly name: string;
  readonly #access: SshAccess;
  readonly #client: Client;
  readonly #jump: SshMachine | null;
  readonly #gone = new AbortController();
  #sudo: readonly string[] | null = null;

  constructor(access: SshAccess, client: Client, jump: SshMachine | null) {
    this.name = access.name;
    this.#access = access;
    this.#client = client;
    this.#jump = jump;
    // Behind a jump host a connection that dies only ends: the channel that carries it stays half open, and nothing more
    // is ever told. To close the way there closes all that goes through it.
    const gone = (): void => {
      this.#gone.abort();
      jump?.close();
    };
    client.once("end", gone).once("close", gone).once("error", gone);
  }

  get isOpen(): boolean {
    return !this.#gone.signal.aborted;
  }

  /** Finds out, by trying, whether sudo asks for a password: one that is not asked for would reach the command. */
  async prepareSudo(signal: AbortSignal): Promise<void> {
    const probe = ["/bin/sh", "-c", "exit 0"];
    const silent = await this.#run([...sudoSilent, ...asIs, ...probe], null, { signal });
    if (silent.code === 0) {
      this.#sudo = sudoSilent;
      return;
    }
    const refuse = (said: string): SkepError =>
      sshFault(
        "SKEP_SSH_SUDO",
        `${this.#access.user} may not use sudo on ${this.name}: ${said.trim()}`,
        true,
        "the inventory names a file with the password (sudoPasswordFile); or allow the user sudo without one",
      );
    if (this.#access.sudoPassword === null) throw refuse(silent.stderr);
    const asked = await this.#run([...sudoAsking, ...asIs, ...probe], this.#access.sudoPassword, { signal });
    if (asked.code !== 0) throw refuse(asked.stderr);
    this.#sudo = sudoAsking;
  }

  #command(argv: readonly string[]): { argv: readonly string[]; password: string | null } {
    if (this.#sudo === null) return { argv, password: null };
    return {
      argv: [...this.#sudo, ...asIs, ...argv],
      password: this.#sudo === sudoAsking ? this.#access.sudoPassword : null,
    };
  }

  async run(argv: readonly string[], options: CommandOptions): Promise<CommandResult> {
    const { argv: whole, password } = this.#command(argv);
    return await this.#run(whole, password, options);
  }

  async #run(argv: readonly string[], password: string | null, options: CommandOptions): Promise<CommandResult> {
    const timeout = AbortSignal.timeout(options.timeoutMs ?? defaultTimeoutMs);
    const signal = AbortSignal.any([options.signal, timeout]);
    const { channel, ended } = await this.#exec(argv);
    // sshd passes on no signal in a session of root: then the command is left to find its output closed.
    const givenUp = new AbortController();
    const stop = (): void => {
      if (this.isOpen) channel.signal("TERM");
      setTimeout(() => {
        channel.destroy();
        givenUp.abort();
      }, stopGraceMs).unref();
    };
    const left = AbortSignal.any([givenUp.signal, this.#gone.signal]);
    const abandoned = new Promise<null>((resolve) => {
      if (left.aborted) resolve(null);
      left.addEventListener("abort", () => {
        resolve(null);
      });
    });
    const tooMuch = { seen: false };
    const stdout: Buffer[] = [];
    let stdoutBytes = 0;
    let stderr = Buffer.alloc(0);
    channel.on("data", (piece: Buffer) => {
      if (options.onStdout !== undefined) {
        options.onStdout(piece);
        return;
      }
      stdoutBytes += piece.length;
      if (stdoutBytes <= outputLimitBytes) stdout.push(piece);
      else if (!tooMuch.seen) {
        tooMuch.seen = true;
        stop();
      }
    });
    channel.stderr.on("data", (piece: Buffer) => {
      stderr = Buffer.concat([stderr, piece]).subarray(-stderrBytes);
    });
    signal.addEventListener("abort", stop, { once: true });
    try {
      const sending = feed(channel, password, options.input, left);
      const code = await Promise.race([ended, abandoned]);
      // A command that ends before it read everything closes its end; its exit code says why.
      await sending.catch(() => undefined);
      options.signal.throwIfAborted();
      const what = `${argv[0] === "sudo" ? "sudo " : ""}${commandName(argv)} on ${this.name}`;
      if (timeout.aborted) throw sshFault("SKEP_SSH_TIMEOUT", `${what} did not end in time`, false);
      if (tooMuch.seen) throw sshFault("SKEP_SSH_OUTPUT", `${what} wrote more than ${outputLimitBytes} bytes`, true);
      if (code === null) throw this.#lost(what);
      return { code, stdout: Buffer.concat(stdout).toString("utf8"), stderr: stderr.toString("utf8") };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async #exec(argv: readonly string[]): Promise<RunningCommand> {
    const command = quoteArguments(argv);
    return await this.#whileConnected("a command", (resolve, reject) => {
      this.#client.exec(command, (error, channel) => {
        // Here and now: the end of a short command may stand in the packet that comes next.
        if (error === undefined) resolve({ channel, ended: endOf(channel) });
        else reject(sshFault("SKEP_SSH_CHANNEL", `${this.name} opens no more channels: ${error.message}`, false));
      });
    });
  }

  /** What `begin` comes to. Throws SKEP_SSH_LOST where the connection is gone, or goes before that. */
  async #whileConnected<T>(
    what: string,
    begin: (resolve: (value: T) => void, reject: (fault: SkepError) => void) => void,
  ): Promise<T> {
    const { signal } = this.#gone;
    const begun = Promise.withResolvers<T>();
    const lost = (): void => {
      begun.reject(this.#lost(what));
    };
    signal.addEventListener("abort", lost, { once: true });
    try {
      if (signal.aborted) throw this.#lost(what);
      try {
        begin(begun.resolve, begun.reject);
      } catch {
        // ssh2 throws at once where its socket is gone and its end was not told yet.
        this.#gone.abort();
      }
      return await begun.promise;
    } finally {
      signal.removeEventListener("abort", lost);
    }
  }

  #lost(what: string): SkepError {
    return sshFault("SKEP_SSH_LOST", `the connection to ${this.name} was lost during ${what}`, false);
  }

  async openSocket(path: string): Promise<Duplex> {
    return await this.#forward(path, (done) => this.#client.openssh_forwardOutStreamLocal(path, done));
  }

  async openTcp(host: string, port: number): Promise<Duplex> {
    return await this.#forward(`${host}:${port}`, (done) => this.#client.forwardOut("127.0.0.1", 0, host, port, done));
  }

  async #forward(
    to: string,
    open: (done: (error: Error | undefined, channel: ClientChannel) => void) => unknown,
  ): Promise<Duplex> {
    return await this.#whileConnected(`a way to ${to}`, (resolve, reject) => {
      open((error, channel) => {
        if (error === undefined) resolve(channel);
        else reject(sshFault("SKEP_SSH_FORWARD", `${this.name} opens no way to ${to}: ${whyClosed(error)}`, true));
      });
    });
  }

  async openCommand(argv: readonly string[], signal: AbortSignal): Promise<Duplex> {
    signal.throwIfAborted();
    const { argv: whole, password } = this.#command(argv);
    const { channel } = await this.#exec(whole);
    // Read, or the channel's window fills up and it stalls.
    channel.stderr.resume();
    if (password !== null) channel.write(`${password}\n`);
    return channel;
  }

  close(): void {
    this.#client.end();
    this.#jump?.close();
  }
}

/** OpenSSH says "open failed" where it forbids, and only a number tells. Source: RFC 4254 §5.1. */
function whyClosed(error: Error & { reason?: unknown }): string {
  const isTold = error.reason !== 1 || error.message.includes(forbiddenText);
  return isTold ? error.message : `${forbiddenText} (${error.message})`;
}

interface RunningCommand {
  channel: ClientChannel;
  /** Its exit code, 128 where a signal ended it; null where the connection was lost. */
  ended: Promise<number | null>;
}

function endOf(channel: ClientChannel): Promise<number | null> {
  return new Promise((resolve) => {
    let code: number | null = null;
    channel.on("exit", (status: number | null, name?: string) => {
      code = status ?? (name === undefined ? null : 128);
    });
    channel.once("close", () => {
      resolve(code);
    });
  });
}

/** The command behind sudo and shell, for messages: never its arguments, which may be long. */
function commandName(argv: readonly string[]): string {
  const start = argv[0] === "sudo" ? argv.lastIndexOf("sh", argv.indexOf("/bin/sh") + 3) + 1 : 0;
  return argv[start] ?? "a command";
}

/** With back-pressure: a slow machine is not drowned in our memory. */
async function feed(
  channel: ClientChannel,
  password: string | null,
  input: Uint8Array | AsyncIterable<Uint8Array> | undefined,
  givenUp: AbortSignal,
): Promise<void> {
  const failed = new AbortController();
  channel.once("close", () => {
    failed.abort();
  });
  const write = async (piece: Uint8Array | string): Promise<void> => {
    if (!channel.write(piece)) await once(channel, "drain", { signal: AbortSignal.any([failed.signal, givenUp]) });
  };
  channel.on("error", () => undefined);
  if (password !== null) await write(`${password}\n`);
  if (input instanceof Uint8Array) {
    for (let at = 0; at < input.length; at += sliceBytes) await write(input.subarray(at, at + sliceBytes));
  } else if (input !== undefined) {
    for await (const piece of input) await write(piece);
  }
  channel.end();
}

const sliceBytes = 256 * 1024;
