// One line a route: what comes in is parsed, the Backend is asked, what goes out has the schema that the CLI reads.
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { restoreIdSchema } from "../../shared/contract/job.ts";
import { runIdPattern, writerIdPattern } from "../../shared/repository/layout.ts";
import type { Backend } from "./backend.ts";
import { metricsContentType, renderMetrics } from "./metrics.ts";
import { approveAgentSchema, restoreKeysRequestSchema, startRestoreSchema, startRunSchema } from "./schemas.ts";

const runParams = z.object({ id: z.string().regex(runIdPattern).or(z.literal("latest")) });
const agentParams = z.object({ nodeId: z.string().regex(writerIdPattern) });
const restoreParams = z.object({ id: restoreIdSchema });
const serviceParams = z.object({ name: z.string().min(1).max(1024) });
const runsQuery = z.object({ limit: z.coerce.number().int().min(1).max(10_000).default(20) });

export function addRoutes(api: FastifyInstance, backend: Backend): void {
  api.get("/v1/agents", async () => ({ agents: await backend.agents() }));
  api.post("/v1/agents/:nodeId/approve", async ({ params, body }) => {
    const { fingerprint } = approveAgentSchema.parse(body);
    return backend.approveAgent(agentParams.parse(params).nodeId, fingerprint);
  });

  api.post("/v1/runs", async ({ body }, reply) => {
    const { schedule } = startRunSchema.parse(body);
    reply.code(202);
    return { runId: await backend.startRun(schedule ?? null) };
  });
  api.get("/v1/runs", async ({ query }) => ({ runs: await backend.runs(runsQuery.parse(query).limit) }));
  api.get("/v1/runs/:id", async ({ params }) => backend.run(runParams.parse(params).id));

  api.get("/v1/policy", async () => backend.policy());
  api.put("/v1/policy", async ({ body }) =>
    backend.setPolicy(
      z
        .string()
        .max(1024 * 1024)
        .parse(body),
    ),
  );

  api.get("/v1/doctor", async () => ({ findings: await backend.doctor() }));

  api.get("/metrics", async (_request, reply) => {
    reply.header("content-type", metricsContentType);
    return renderMetrics(await backend.metrics());
  });

  api.post("/v1/services/:name/rollback", async ({ params }) =>
    backend.rollBackService(serviceParams.parse(params).name),
  );

  api.post("/v1/restores", async ({ body }, reply) => {
    const restoreId = await backend.startRestore(startRestoreSchema.parse(body));
    reply.code(202);
    return { restoreId };
  });
  api.get("/v1/restores", async () => ({ restores: await backend.restores() }));
  api.get("/v1/restores/:id", async ({ params }) => backend.restore(restoreParams.parse(params).id));
  api.post("/v1/restores/:id/keys", async ({ params, body }, reply) => {
    const { id } = restoreParams.parse(params);
    await backend.giveRestoreKeys(id, restoreKeysRequestSchema.parse(body).sealedKeys);
    reply.code(202);
    return backend.restore(id);
  });
  for (const kind of ["undo", "discard"] as const) {
    api.post(`/v1/restores/:id/${kind}`, async ({ params }, reply) => {
      const { id } = restoreParams.parse(params);
      await backend.takeBackRestore(id, kind);
      reply.code(202);
      return backend.restore(id);
    });
  }
}
