// `npm run image`: builds the image of Skep with the docker command at hand.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { skepVersion } from "../shared/version.ts";
import { layOutImageContext, platforms, type Platform } from "./image-context.ts";

interface ImageOptions {
  tag: string;
  platform: Platform;
  baseImage?: string;
}

async function build({ tag, platform, baseImage }: ImageOptions): Promise<number> {
  const context = await mkdtemp(join(tmpdir(), "skep-image-"));
  try {
    await layOutImageContext(context, platform);
    const base = baseImage === undefined ? [] : ["--build-arg", `BASE_IMAGE=${baseImage}`];
    const docker = spawn("docker", ["build", "--platform", platform, ...base, "--tag", tag, context], {
      stdio: "inherit",
    });
    const [code] = (await once(docker, "close")) as [number | null];
    return code ?? 1;
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

const program = new Command("image")
  .description("build the image of Skep")
  .option("--tag <name>", "name of the image", `skep:${skepVersion}`)
  .addOption(
    new Option("--platform <platform>", "for which machines").choices(Object.keys(platforms)).default("linux/amd64"),
  )
  .option("--base-image <name>", "an image with Node 24 or later (default: that of deploy/Dockerfile)")
  .addHelpText("after", "\nExample:\n  npm run image -- --tag registry.example.com/skep:0.1.0 --platform linux/arm64")
  .action(async (options: ImageOptions) => {
    process.exitCode = await build(options);
  });
await program.parseAsync();
