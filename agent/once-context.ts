// What a job that came on standard input works with.
import type { OnceInput } from "../shared/contract/once.ts";
import { deriveWriterKeys } from "../shared/repository/keys.ts";
import type { Store } from "../shared/store/store.ts";
import type { AgentContext } from "./context.ts";
import type { Docker } from "./docker.ts";

export function onceContext(input: OnceInput, docker: Docker, store: Store): AgentContext {
  const { repositoryId, incarnation } = input.job;
  const writerKey = Buffer.from(input.writerKey, "base64");
  return {
    docker,
    dockerSocket: input.dockerSocket,
    hostRoot: input.hostRoot,
    stateDir: input.stateDir,
    store,
    storeLocation: input.store,
    credentials: input.credentials,
    repositoryId,
    incarnation,
    writerId: input.writerId,
    writerKey,
    writerKeys: deriveWriterKeys(writerKey, repositoryId),
    epoch: input.epoch,
    mountedAt: input.mountedAt ?? null,
  };
}
