import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { connectInTime, isForbidden } from "../../controller/recovery/connect-in-time.ts";
import { setEngineUp } from "../../controller/recovery/engine-setup/setup-step.ts";
import { knownHostsFor } from "../../controller/recovery/known-hosts.ts";
import { defaultDockerSocket, RemoteMachine } from "../../controller/recovery/remote-machine.ts";
import type { SshAccess } from "../../controller/recovery/ssh-access.ts";
import { connectSsh, type SshMachine } from "../../controller/recovery/ssh.ts";
import type { SkepError } from "../../shared/errors.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { until } from "./recovery/application.ts";

const signal = (): AbortSignal => AbortSignal.timeout(60_000);
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "it went well",
    (error: unknown) => (error as SkepError).code,
  );

describe("the door to other machines", function () {
  this.timeout(120_000);
  let lab: Lab;
  let node: LabNode;
  let root: SshAccess;
  let operator: SshAccess;
  const open: SshMachine[] = [];

  before(async () => {
    lab = await Lab.up({ nodes: 1 });
    node = lab.node(0);
    const ssh = await node.ssh();
    const common = {
      ...{ name: "m1", address: ssh.host, port: ssh.port, agent: null, password: null, jump: null },
      known: knownHostsFor(`${ssh.host} ${ssh.hostKey}\n`, ssh.host, ssh.port),
    };
    const privateKey = await readFile(ssh.root.privateKeyPath, "utf8");
    root = { ...common, user: "root", privateKey, sudo: false, sudoPassword: null };
    operator = { ...common, user: "operator", privateKey, sudo: true, sudoPassword: ssh.operator.password };
  });
  after(async () => {
    for (const machine of open) machine.close();
    await lab.down();
  });

  const connect = async (access: SshAccess): Promise<SshMachine> => {
    const machine = await connectSsh(access, signal());
    open.push(machine);
    return machine;
  };

  it("carries bytes both ways unchanged, as root by key and by sudo with a password", async () => {
    const bytes = randomBytes(3_000_000);
    for (const access of [root, operator]) {
      const machine = await connect(access);
      const pieces: Buffer[] = [];
      const { code } = await machine.run(["cat"], {
        signal: signal(),
        input: bytes,
        onStdout: (piece) => {
          pieces.push(piece);
        },
      });
      expect(code).to.equal(0);
      expect(Buffer.concat(pieces).equals(bytes), access.user).to.be.true;
      const who = await machine.run(["sh", "-c", 'id -u; printf %s "$1"', "sh", "a 'b' \"c\" $d\n"], {
        signal: signal(),
      });
      expect(who.stdout).to.equal("0\na 'b' \"c\" $d\n");
    }
  });

  it("knows whether sudo asks: where it does not, the password never reaches a command", async () => {
    await node.run(["sh", "-c", "echo 'operator ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/skep-test"]);
    try {
      const machine = await connect(operator);
      expect((await machine.run(["cat"], { signal: signal() })).stdout).to.equal("");
    } finally {
      await node.run(["rm", "/etc/sudoers.d/skep-test"]);
    }
  });

  it("refuses keys that nobody vouched for, changed keys, foreign users and wrong passwords, each by its code", async () => {
    const none = knownHostsFor("", root.address, 22);
    const other = knownHostsFor(
      `${root.address} ssh-ed25519 ${Buffer.alloc(51, 1).toString("base64")}\n`,
      root.address,
      22,
    );
    expect(await codeOf(connect({ ...root, known: none }))).to.equal("SKEP_SSH_HOST_UNKNOWN");
    expect(await codeOf(connect({ ...root, known: other }))).to.equal("SKEP_SSH_HOST_CHANGED");
    expect(await codeOf(connect({ ...root, user: "nobody" }))).to.equal("SKEP_SSH_DENIED");
    expect(await codeOf(connect({ ...operator, sudoPassword: "wrong" }))).to.equal("SKEP_SSH_SUDO");
    expect(await codeOf(connect({ ...operator, sudoPassword: null }))).to.equal("SKEP_SSH_SUDO");
    expect(await codeOf(connect({ ...root, privateKey: "no key" }))).to.equal("SKEP_SSH_KEY_INVALID");
    expect(await codeOf(connect({ ...root, port: 1 }))).to.equal("SKEP_SSH_UNREACHABLE");
  });

  it("tells a command's exit code, ends one that takes too long, and one that is told to stop", async () => {
    const machine = await connect(root);
    expect((await machine.run(["sh", "-c", "echo no >&2; exit 7"], { signal: signal() })).code).to.equal(7);
    expect(await codeOf(machine.run(["sleep", "60"], { signal: signal(), timeoutMs: 300 }))).to.equal(
      "SKEP_SSH_TIMEOUT",
    );
    const stop = new AbortController();
    setTimeout(() => {
      stop.abort(new Error("stopped"));
    }, 200);
    const started = Date.now();
    await machine.run(["sleep", "60"], { signal: stop.signal }).then(
      () => expect.fail("it ended"),
      (error: unknown) => {
        expect((error as Error).message).to.equal("stopped");
      },
    );
    expect(Date.now() - started).to.be.below(20_000);
  });

  it("reaches the engine through the socket, through the docker command where sshd forbids that, and by sudo", async () => {
    const info = z.looseObject({ Name: z.string() });
    const ask = async (access: SshAccess): Promise<string> => {
      const machine = new RemoteMachine(access, defaultDockerSocket);
      try {
        return (await machine.engine(info, { path: "/info" }, signal())).Name;
      } finally {
        await machine.close();
      }
    };
    expect(await ask(root)).to.equal(node.name);
    expect(await ask(operator)).to.equal(node.name);
    // A reload would close the port for a moment at a time of its own; this returns when sshd listens again.
    await node.run([
      "sh",
      "-c",
      "echo 'AllowStreamLocalForwarding no' >> /etc/ssh/sshd_config && systemctl restart ssh",
    ]);
    expect(await ask(root)).to.equal(node.name);
  });

  it("asks the engine many times through one program there, and through another once the engine was restarted", async () => {
    const machine = new RemoteMachine(operator, defaultDockerSocket);
    const info = z.looseObject({ Name: z.string() });
    const ask = async (): Promise<string> => (await machine.engine(info, { path: "/info" }, signal())).Name;
    const programs = async (): Promise<string> =>
      (await node.run(["sh", "-c", "pgrep --exact docker --list-full | grep 'system dial-stdio$' || true"])).trim();
    try {
      await ask();
      const first = await programs();
      expect(first.split("\n")).to.have.length(1);
      for (let count = 0; count < 5; count++) expect(await ask()).to.equal(node.name);
      expect(await programs()).to.equal(first);
      await node.run(["systemctl", "restart", "docker.service"]);
      expect(await ask()).to.equal(node.name);
      expect(await programs()).to.not.equal(first);
    } finally {
      await machine.close();
    }
    await until("it ended with the connection", async () => (await programs()) === "");
  });

  const through = (): SshAccess => ({ ...operator, name: "inner", address: "127.0.0.1", jump: root });

  it("goes through a jump host", async () => {
    const machine = new RemoteMachine(through(), defaultDockerSocket);
    try {
      expect((await machine.run(["id", "-u"], { signal: signal() })).stdout).to.equal("0\n");
    } finally {
      await machine.close();
    }
  });

  it("tells at once that the connection behind a jump host died, or that to it, and makes another", async () => {
    const machine = new RemoteMachine(through(), defaultDockerSocket);
    try {
      for (const session of ["sshd: operator", "sshd: root"]) {
        const started = Promise.withResolvers<undefined>();
        const onStdout = (): void => {
          started.resolve(undefined);
        };
        const running = codeOf(machine.run(["sh", "-c", "echo; exec sleep 30"], { signal: signal(), onStdout }));
        await started.promise;
        const killedAt = Date.now();
        await node.run(["pkill", "-KILL", "-f", `^${session}`]);
        expect(await running, session).to.equal("SKEP_SSH_LOST");
        expect(Date.now() - killedAt, session).to.be.below(10_000);
        expect((await machine.run(["id", "-u"], { signal: signal() })).stdout).to.equal("0\n");
      }
    } finally {
      await machine.close();
    }
  });

  it("sets an engine up, and gives it its former settings back where it does not start with the new ones", async () => {
    const machine = new RemoteMachine(operator, defaultDockerSocket);
    const setUp = (settings: Record<string, unknown>): Promise<unknown> =>
      setEngineUp(
        { machine, recoveryId: "k3v9qd2m4n5p" },
        [{ nodeId: "n", hostname: "node9", settings, settingsMode: 0o600, files: [], plugins: [] }],
        { signal: signal(), onProgress: () => undefined },
      );
    const labels = async (): Promise<string> =>
      (await node.run(["docker", "info", "--format", "{{json .Labels}}"])).trim();
    const names = async (): Promise<string> => (await node.run(["ls", "/etc/docker"])).trim();
    try {
      // No word of it is the engine's: it refuses to start, or, asked beforehand, to take it.
      expect(await codeOf(setUp({ labels: ["rack=7"], "no-such-setting": true }))).to.equal(
        "SKEP_RECOVERY_SETUP_REFUSED",
      );
      expect(await labels()).to.equal("[]");
      expect(await setUp({ labels: ["rack=7"] })).to.deep.include({ settings: ["labels"] });
      expect(await labels()).to.equal('["rack=7"]');
      expect(await names())
        .to.contain("daemon.json.before-k3v9qd2m4n5p")
        .and.not.contain("skep-restart");
      // Cut off between the file and the restart: that is still due.
      await node.run(["sh", "-c", ": > /etc/docker/daemon.json.skep-restart"]);
      const before = await node.run(["systemctl", "show", "--property", "MainPID", "docker.service"]);
      expect(await setUp({ labels: ["rack=7"] })).to.deep.include({ settings: [] });
      expect(await node.run(["systemctl", "show", "--property", "MainPID", "docker.service"])).to.not.equal(before);
      expect(await names()).to.not.contain("skep-restart");
    } finally {
      await machine.close();
    }
  });

  it("tells a port on which nobody listens from one to which sshd lets nobody, and waits for neither", async () => {
    const fault = async (): Promise<unknown> =>
      await connectInTime((await connect(root)).openTcp("127.0.0.1", 1)).catch((error: unknown) => error);
    const refused = await fault();
    expect((refused as Error).message).to.match(/connection refused/i);
    expect(isForbidden(refused)).to.be.false;
    await node.run(["sh", "-c", "echo 'AllowTcpForwarding no' >> /etc/ssh/sshd_config && systemctl restart ssh"]);
    const forbidden = await fault();
    expect(isForbidden(forbidden), String(forbidden)).to.be.true;
  });
});
