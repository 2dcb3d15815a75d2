import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { SkepError } from "../../shared/errors.ts";
import { parseTargets, sourcesFor } from "../lab/apt-sources.ts";
import { command, tryCommand } from "../lab/command.ts";
import { withLock } from "../lab/lock.ts";
import { bridgeName, chooseSubnet, legName } from "../lab/network.ts";
import { isAlive, ownerOf, thisOwner } from "../lab/owner.ts";
import { checkName, idFor } from "../lab/state.ts";

const projectRoot = join(import.meta.dirname, "../..");

function codeOf(act: () => void): string | null {
  try {
    act();
    return null;
  } catch (error) {
    if (error instanceof SkepError) return error.code;
    throw error;
  }
}

describe("a lab's subnet", () => {
  it("is the first that no other lab, address or route of the machine has", () => {
    expect(chooseSubnet([], [])).to.equal("198.18.0");
    expect(chooseSubnet(["198.18.0"], ["198.18.1.0/24", "198.18.2.7/32", "10.0.0.0/8"])).to.equal("198.18.3");
    expect(chooseSubnet([], ["198.18.0.0/16"])).to.equal("198.19.0");
  });

  it("is refused when a route covers all there are", () => {
    expect(codeOf(() => chooseSubnet([], ["198.18.0.0/15"]))).to.equal("SKEP_LAB_NO_SUBNET");
  });

  it("comes with interface names that Linux takes", () => {
    expect(bridgeName(idFor("a".repeat(20))).length).to.be.at.most(15);
    expect(legName(idFor("demo"), 253).length).to.be.at.most(15);
  });
});

describe("the mirrors of a lab's root file systems", () => {
  const targets = parseTargets(
    [
      "http://mirror.example/debian/|bookworm|main",
      "http://mirror.example/debian/|bookworm|contrib",
      "http://mirror.example/security/|bookworm-security|main",
      "https://packages.example/node|nodistro|main",
      "garbage",
    ].join("\n"),
  );

  it("are those of the machine's own release, for another release as well", () => {
    expect(sourcesFor("trixie", "bookworm", targets)).to.deep.equal([
      "deb http://mirror.example/debian/ trixie main",
      "deb http://mirror.example/security/ trixie-security main",
    ]);
  });

  it("are missed with a hint when apt knows none", () => {
    expect(codeOf(() => sourcesFor("bookworm", "trixie", targets))).to.equal("SKEP_LAB_APT_SOURCES");
  });

  it("are never taken from a line that could add one of its own", () => {
    expect(parseTargets("http://a.example/ [trusted=yes]|bookworm|main")).to.deep.equal([]);
    expect(parseTargets("http://a.example/|bookworm main|main")).to.deep.equal([]);
  });
});

describe("a lab's name", () => {
  it("is refused where it could be a path or too long for its places", () => {
    for (const name of ["", "../x", "a/b", "A", "-a", "a".repeat(21), ".lock"]) {
      expect(
        codeOf(() => {
          checkName(name);
        }),
        name,
      ).to.equal("SKEP_LAB_NAME");
    }
    expect(
      codeOf(() => {
        checkName("demo-2");
      }),
    ).to.be.null;
  });
});

describe("the owner of a lab", () => {
  it("is not mistaken for another process that got its number", () => {
    expect(isAlive(thisOwner())).to.be.true;
    expect(isAlive({ ...thisOwner(), startTicks: thisOwner().startTicks - 1 })).to.be.false;
    expect(ownerOf(2 ** 22 + 1)).to.be.null;
  });
});

describe("the labs' lock", () => {
  const name = `test ${randomUUID()}`;

  it("lets one in at a time", async () => {
    let inside = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++inside);
      await sleep(5);
      inside--;
    };
    await Promise.all(Array.from({ length: 8 }, () => withLock(name, work)));
    expect(most).to.equal(1);
  });

  it("is free again when its holder dies", async () => {
    const module = join(projectRoot, "test/lab/lock.ts");
    const script = `import { withLock } from ${JSON.stringify(module)};
      await withLock(${JSON.stringify(name)}, async () => { process.kill(process.pid, "SIGKILL"); await new Promise(() => {}); });`;
    const died = await tryCommand([process.execPath, "--input-type=module", "--eval", script]);
    expect(died.code).to.equal(128 + 9);
    expect(await withLock(name, () => Promise.resolve("mine"))).to.equal("mine");
  });

  it("is free again when the work throws", async () => {
    const failed = await withLock(name, () => Promise.reject(new Error("no"))).catch((error: unknown) => error);
    expect(failed).to.be.instanceOf(Error).with.property("message", "no");
    expect(await withLock(name, () => Promise.resolve("mine"))).to.equal("mine");
  });

  it("is waited for no longer than the signal lets", async () => {
    await withLock(name, async () => {
      const late = await withLock(name, () => Promise.resolve(), AbortSignal.timeout(100)).catch((e: unknown) => e);
      expect(late).to.be.instanceOf(Error).with.property("name", "AbortError");
    });
  });
});

describe("a command of the lab", () => {
  it("is told as it ended, with both its outputs", async () => {
    const ended = await tryCommand(["sh", "-c", "cat; echo bad >&2; exit 3"], { input: "good" });
    expect(ended).to.deep.equal({ stdout: "good", stderr: "bad\n", code: 3 });
  });

  it("takes its arguments as they are", async () => {
    expect(await command(["printf", "%s", "$(id) ; `id`"])).to.equal("$(id) ; `id`");
  });

  it("is killed when it is told to stop", async () => {
    const failed = await tryCommand(["sleep", "60"], { signal: AbortSignal.timeout(50) }).catch(
      (error: unknown) => error,
    );
    expect(failed).to.have.property("code", "SKEP_LAB_COMMAND");
  });
});

describe("the set-up of a machine", () => {
  const setup = join(projectRoot, "deploy/setup.js");

  it("runs a script with the project's Node, and ends as the script does", async () => {
    const script = "console.log(process.versions.node.split('.')[0]); process.exit(7)";
    const ended = await tryCommand([process.execPath, setup, "--eval", script]);
    expect(ended).to.deep.equal({ stdout: "24\n", stderr: "", code: 7 });
  });

  it("refuses whoever is not root, and says so", async () => {
    const asNobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    // In place: nobody may not enter the folder of a checkout in root's home.
    const source = await readFile(setup, "utf8");
    const ended = await tryCommand([...asNobody, "node", "--input-type=module", "--eval", source], {
      cwd: "/",
      env: { PATH: "/usr/local/bin:/usr/bin:/bin" },
    });
    expect(ended.code).to.equal(1);
    expect(ended.stderr).to.match(/^error: the lab .* needs root for it\nhint: /);
  });
});

describe("docs/LAB.md", () => {
  it("shows commands that work, one after the other", async function () {
    this.timeout(300_000);
    const text = await readFile(join(projectRoot, "docs/LAB.md"), "utf8");
    const block = /```sh\n([\s\S]*?)```/.exec(text)?.[1] ?? "";
    const lines = [...block.matchAll(/^npm run lab -- ([^#\n]+)/gm)].map((match) =>
      (match[1] ?? "").trim().split(/\s+/),
    );
    expect(lines.length).to.be.greaterThan(8);
    // Another folder of labs: the reader's own lab of the same name is left alone.
    const folder = await mkdtemp("/var/lib/skep-lab-docs-");
    const env = { ...(process.env as Record<string, string>), SKEP_LAB_STATE: folder };
    const lab = (args: readonly string[]) =>
      tryCommand([process.execPath, join(projectRoot, "test/lab/main.ts"), ...args], { env });
    try {
      for (const line of lines) {
        const ended = await lab(line);
        expect(ended.code, `${line.join(" ")}\n${ended.stderr}`).to.equal(0);
      }
      expect(await readdir(folder)).to.deep.equal([]);
    } finally {
      await lab(["down", "--all"]);
      await rm(folder, { recursive: true, force: true });
    }
  });
});
