// The lab's S3: a real Ceph gateway in a machine of its own on the lab's network.
import {
  BucketAlreadyOwnedByYou,
  CreateBucketCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { copyFile, mkdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { generate } from "selfsigned";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { processesIn } from "./cgroup.ts";
import { tryCommand } from "./command.ts";
import { Machine } from "./machine.ts";
import { createLeg, cutLeg, healLeg, namespaceName, removeLeg } from "./network.ts";
import { cgroupOf, labFolder, type LabState } from "./state.ts";

export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

export interface BucketOptions {
  versioning?: boolean;
  objectLock?: boolean;
}

const userSchema = z.object({
  keys: z.array(z.object({ access_key: z.string().min(1), secret_key: z.string().min(1) })).min(1),
});

/** Ceph's objects belong to who wrote them, not to the bucket's owner: a user could read and remove its own, and nobody else. */
const ownersRights = [
  ...["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAcl", "s3:PutObjectAcl", "s3:PutObject"],
  ...["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectRetention", "s3:PutObjectLegalHold"],
];

/** Number of its leg on the bridge, and last number of its address. */
const s3Index = 253;
const port = 7480;
const tlsPort = 7443;
/** What the server answers to by name: NAME itself, and BUCKET.NAME; no resolver knows it. */
export const s3HostName = "s3.lab.test";
const machineName = "s3";

/** Addressed path-style (http://HOST:PORT/BUCKET/KEY); buckets are made without a location constraint. */
export class S3Server {
  readonly address: string;
  readonly endpoint: string;
  /** With a certificate that the lab's own authority signed. */
  readonly tlsEndpoint: string;
  /** The same by its name. */
  readonly namedEndpoint: string;
  readonly region = "us-east-1";
  readonly #lab: LabState;
  readonly #machine: Machine;
  readonly #shared: string;

  constructor(lab: LabState, rootfs: string) {
    this.#lab = lab;
    this.address = `${lab.subnet}.${s3Index}`;
    this.endpoint = `http://${this.address}:${port}`;
    this.tlsEndpoint = `https://${this.address}:${tlsPort}`;
    this.namedEndpoint = `https://${s3HostName}:${tlsPort}`;
    const folder = join(labFolder(lab.name), machineName);
    this.#shared = join(folder, "shared");
    this.#machine = new Machine({
      hostname: machineName,
      folder,
      rootfs,
      namespace: namespaceName(lab.id, machineName),
      cgroup: cgroupOf(lab.id, machineName),
      binds: { [this.#shared]: "/srv/lab" },
      program: ["/bin/sh", "/srv/lab/ceph.sh", this.address, String(port), String(tlsPort)],
    });
  }

  /** Makes the machine and the user `full`, and starts it: about 4 s. */
  async create(): Promise<void> {
    await createLeg(this.#lab.id, machineName, s3Index, this.#lab.subnet);
    await this.#machine.create();
    await mkdir(this.#shared, { recursive: true });
    await copyFile(join(import.meta.dirname, "ceph.sh"), join(this.#shared, "ceph.sh"));
    await this.#makeCertificate();
    await this.start();
    await this.createUser("full");
  }

  /** PEM of the authority that signed the server's certificate. */
  async authority(): Promise<string> {
    return await readFile(join(this.#shared, "ca.pem"), "utf8");
  }

  async #makeCertificate(): Promise<void> {
    const year = {
      notAfterDate: new Date(Date.now() + 365 * 24 * 3_600_000),
      keyType: "ec",
      algorithm: "sha256",
    } as const;
    const authority = await generate([{ name: "commonName", value: "lab authority" }], {
      ...year,
      extensions: [
        { name: "basicConstraints", cA: true, critical: true },
        { name: "keyUsage", keyCertSign: true, digitalSignature: true, critical: true },
      ],
    });
    const server = await generate([{ name: "commonName", value: s3HostName }], {
      ...year,
      ca: { key: authority.private, cert: authority.cert },
      extensions: [
        {
          name: "subjectAltName",
          altNames: [
            { type: 2, value: s3HostName },
            { type: 2, value: `*.${s3HostName}` },
            { type: 7, ip: this.address },
          ],
        },
      ],
    });
    await writeFile(join(this.#shared, "ca.pem"), authority.cert);
    await writeFile(join(this.#shared, "tls.pem"), `${server.private}\n${server.cert}\n`);
  }

  /** A storage class that objects can be put into, beside STANDARD. The server is stopped and started again. */
  async addStorageClass(name: string): Promise<void> {
    const which = ["--rgw-zonegroup=default", "--placement-id=default-placement", `--storage-class=${name}`];
    await this.#admin(["radosgw-admin", "zonegroup", "placement", "add", ...which]);
    const zone = ["--rgw-zone=default", "--placement-id=default-placement", `--storage-class=${name}`];
    await this.#admin(["radosgw-admin", "zone", "placement", "add", ...zone, "--data-pool=default.rgw.buckets.data"]);
    await this.stop();
    await this.start();
  }

  get isRunning(): boolean {
    return this.#machine.isRunning();
  }

  /** Starts it (with what it held at its last clean stop) and waits, at most 60 s, until it answers. */
  async start(): Promise<void> {
    await rm(join(this.#shared, "ready"), { force: true });
    await this.#machine.start();
    const deadlineMs = Date.now() + 60_000;
    while (!(await this.#answers())) {
      if (!this.isRunning || Date.now() > deadlineMs) {
        const message = `the S3 server does not answer\n${await this.#machine.consoleTail()}`;
        throw new SkepError({ code: "SKEP_LAB_BOOT", message, permanent: false });
      }
      await sleep(50);
    }
  }

  async #answers(): Promise<boolean> {
    return (await exists(join(this.#shared, "ready"))) && (await answersHttp(this.endpoint));
  }

  /** Clean stop: connections are refused, nothing is lost. */
  async stop(): Promise<void> {
    await this.#machine.stop();
  }

  /** Power loss. The objects were in its memory: all is lost. */
  async crash(): Promise<void> {
    await this.#machine.crash();
  }

  /** It hangs: connections are taken, and nothing is answered, until resume(). */
  async suspend(): Promise<void> {
    await this.#signalGateway("SIGSTOP");
  }

  async resume(): Promise<void> {
    await this.#signalGateway("SIGCONT");
  }

  async #signalGateway(signal: NodeJS.Signals): Promise<void> {
    let found = false;
    for (const pid of await processesIn(this.#machine.spec.cgroup)) {
      // Its own name for itself (/proc/PID/comm) is that of a thread.
      if (basename(await readlink(`/proc/${String(pid)}/exe`)) !== "radosgw") continue;
      process.kill(pid, signal);
      found = true;
    }
    if (!found) throw new SkepError({ code: "SKEP_LAB_NODE_OFF", message: "the S3 server is off", permanent: false });
  }

  /** What is sent to it, and what it sends, is lost, until heal(). */
  async cut(): Promise<void> {
    await cutLeg(this.#lab.id, s3Index);
  }

  async heal(): Promise<void> {
    await healLeg(this.#lab.id, s3Index);
  }

  async remove(): Promise<void> {
    await this.#machine.remove();
    await removeLeg(this.#lab.id, machineName, s3Index);
  }

  /** Credentials of the user that owns the buckets made by createBucket, and may do everything with them. */
  async credentials(name = "full"): Promise<S3Credentials> {
    const text = await readFile(this.#userFile(name), "utf8");
    return JSON.parse(text) as S3Credentials;
  }

  /** One more user, with no right to anybody's buckets: allow() gives some. 1 to 40 characters of a-z and 0-9. */
  async createUser(name: string): Promise<S3Credentials> {
    z.string()
      .regex(/^[a-z][a-z0-9]{0,39}$/)
      .parse(name);
    const argv = ["radosgw-admin", "user", "create", `--uid=${name}`, `--display-name=${name}`];
    const [key] = userSchema.parse(JSON.parse(await this.#admin(argv))).keys;
    const credentials = { accessKeyId: key?.access_key ?? "", secretAccessKey: key?.secret_key ?? "" };
    await writeFile(this.#userFile(name), JSON.stringify(credentials), { mode: 0o600 });
    return credentials;
  }

  /** Lets `user` keep at most so many bytes, over all its buckets; more is answered QuotaExceeded. */
  async limit(user: string, maxBytes: number): Promise<void> {
    const quota = ["--quota-scope=user", `--uid=${user}`];
    await this.#admin(["radosgw-admin", "quota", "set", ...quota, `--max-size=${maxBytes}`]);
    await this.#admin(["radosgw-admin", "quota", "enable", ...quota]);
  }

  async #admin(argv: readonly string[]): Promise<string> {
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", CEPH_CONF: "/srv/lab/ceph/ceph.conf", LANG: "C.UTF-8" };
    const result = await tryCommand(this.#machine.enter(argv), { env });
    if (result.code === 0) return result.stdout;
    const message = `${argv.join(" ")}: exit status ${result.code}\n${result.stderr.trimEnd()}`;
    throw new SkepError({ code: "SKEP_LAB_COMMAND", message, permanent: false });
  }

  #userFile(name: string): string {
    return join(this.#machine.spec.folder, `user-${name}.json`);
  }

  /** A client of the server; the caller destroys it. */
  client(credentials: S3Credentials): S3Client {
    const { endpoint, region } = this;
    return new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  }

  /** A bucket of the user `full`. One that is there already stays as it is. */
  async createBucket(bucket: string, options: BucketOptions = {}): Promise<void> {
    await this.#asOwner(async (client) => {
      try {
        await client.send(
          new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: options.objectLock === true }),
        );
      } catch (error) {
        if (!(error instanceof BucketAlreadyOwnedByYou)) throw error;
      }
      if (options.versioning === true) {
        const VersioningConfiguration = { Status: "Enabled" } as const;
        await client.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration }));
      }
    });
  }

  /** Lets `users` do `actions` ("s3:PutObject", …) in the bucket, and nothing else: earlier leave is taken back. */
  async allow(bucket: string, users: readonly string[], actions: readonly string[]): Promise<void> {
    const Resource = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`];
    const names = (list: readonly string[]) => ({ AWS: list.map((user) => `arn:aws:iam:::user/${user}`) });
    const denied = ownersRights.filter((action) => !actions.includes(action));
    const Statement = [
      { Effect: "Allow", Principal: names(["full"]), Action: ["s3:*"], Resource },
      { Effect: "Allow", Principal: names(users), Action: actions, Resource },
      { Effect: "Deny", Principal: names(users), Action: denied, Resource },
    ];
    const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
    await this.#asOwner((client) => client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy })));
  }

  async #asOwner(work: (client: S3Client) => Promise<unknown>): Promise<void> {
    const client = this.client(await this.credentials());
    try {
      await work(client);
    } finally {
      client.destroy();
    }
  }
}

async function answersHttp(url: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const asked = get(url, { timeout: 5_000, agent: false }, (response) => {
      response.resume();
      resolve(true);
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer")));
    asked.on("error", () => {
      resolve(false);
    });
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
