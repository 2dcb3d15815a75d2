// An S3 store in front of a server of tests, with the patience of tests.
import { S3Store, type S3Patience } from "../../../shared/store/s3-store.ts";
import type { S3Settings } from "../../../shared/store/s3-settings.ts";
import { LyingServer, type Answer } from "./lying-server.ts";

export const credentials = {
  accessKeyId: "AKIAVERYPUBLIC",
  secretAccessKey: "a-very-secret-access-key",
  sessionToken: "a-session-token",
};
export const patience: S3Patience = {
  attempts: 3,
  firstPauseMs: 1,
  longestPauseMs: 5,
  random: () => 0.5,
  requestMs: 5000,
  slowestBytesPerSecond: 1024 * 1024,
};
export const settings: S3Settings = {
  bucket: "backups",
  prefix: "swarm-a",
  endpoint: "http://127.0.0.1:1",
  region: "us-east-1",
  pathStyle: true,
  ca: null,
  storageClass: null,
  encryption: null,
  connections: 2,
  connectMs: 500,
  idleMs: 300,
};

/** What a test opened, and what closes it, in this order. */
export class S3Rig {
  readonly closing: (() => Promise<void>)[] = [];

  async against(
    answers: readonly Answer[],
    more: { settings?: Partial<S3Settings>; patience?: Partial<S3Patience> } = {},
  ): Promise<{ server: LyingServer; store: S3Store }> {
    const server = await LyingServer.start(answers);
    const store = new S3Store({ ...settings, endpoint: server.endpoint, ...more.settings }, credentials, {
      ...patience,
      ...more.patience,
    });
    this.closing.push(
      () => store.close(),
      () => server.close(),
    );
    return { server, store };
  }

  async close(): Promise<void> {
    for (const close of this.closing.splice(0)) await close();
  }
}
