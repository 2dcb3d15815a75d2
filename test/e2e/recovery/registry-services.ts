// Two services whose images a registry gave, which asks for a password: named by digest, as `docker stack deploy` does.
import { mkdir } from "node:fs/promises";
import type { LabNode } from "../../lab/node.ts";
import { until } from "./application.ts";

/** `kept` and `lost`: their digests. The swarm keeps the login with each. */
export async function deployFromRegistry(
  node: LabNode,
  host: string,
  { user, password }: { user: string; password: string },
): Promise<{ kept: string; lost: string }> {
  await mkdir(node.hostPath("/root/tiny/bin"), { recursive: true });
  await node.run(["cp", "/bin/busybox", "/root/tiny/bin/busybox"]);
  await node.run(["tar", "-cf", "/root/tiny.tar", "-C", "/root/tiny", "."]);
  const login = ["docker", "login", "--username", user, "--password-stdin", host];
  await node.exec(login, { input: password });
  const make = async (name: "kept" | "lost"): Promise<string> => {
    const tag = `${host}/${name}:1`;
    await node.run(["docker", "import", "--change", `LABEL name=${name}`, "/root/tiny.tar", tag]);
    await node.run(["docker", "push", tag]);
    const named = await node.run(["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]);
    const digest = named.trim().split("@")[1] ?? "";
    const service = ["docker", "service", "create", "--detach", "--quiet", "--with-registry-auth", "--name", name];
    await node.run([...service, "--endpoint-mode", "dnsrr", `${tag}@${digest}`, "/bin/busybox", "sleep", "100000"]);
    return digest;
  };
  const digests = { kept: await make("kept"), lost: await make("lost") };
  await until("the services of the registry's images run", async () => {
    const { stdout } = await node.exec(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
    return /^kept 1\/1/m.test(stdout) && /^lost 1\/1/m.test(stdout);
  });
  return digests;
}
