import { expect } from "chai";
import {
  listen,
  noWords,
  seenOn,
  type FoundVolume,
  type Said,
  type Service,
  type VolumeView,
  type WordSources,
} from "../../controller/volume-speakers.ts";
import { volumeRuleSchema } from "../../controller/volume-words.ts";

type Labels = Record<string, string>;

/** `users`: running containers, each of a service of its own (s0, s1, …). */
function found(volume: Labels, users: Labels[] = [], name = "db"): FoundVolume {
  return {
    facts: { name, driver: "local", options: {}, labels: volume, scope: "local" },
    sharedId: null,
    usedBy: [],
    users: users.map((labels, at) => ({ container: `c${at}`, serviceId: `s${at}`, uses: "all", runs: true, labels })),
  };
}
const view = (nodeId: string, volume: FoundVolume): VolumeView => ({ nodeId, hostname: nodeId, found: volume });

function service(id: string, labels: Labels, more: Partial<Service> = {}): Service {
  return {
    ...{ id, name: id, mode: "replicated", replicas: 1, volumes: ["db"], binds: [], image: "", labels },
    ...{ containerLabels: {}, mayRunOn: null },
    ...more,
  };
}

/** What is said of the first of the views, which are all that there are, or of `of` among them. */
function said(views: VolumeView[], sources: Partial<WordSources> = {}, of: VolumeView[] = views.slice(0, 1)): Said {
  const nodes = [...Map.groupBy(views, ({ nodeId }) => nodeId)];
  const seen = seenOn(nodes.map(([nodeId, each]) => [nodeId, { volumes: each.map((one) => one.found) }] as const));
  return listen(of, { ...noWords, ...sources }, seen);
}

describe("those who have a say in how a volume is taken", () => {
  it("count more the nearer they are to the data, and the policy most", () => {
    const volume = found({ "skep.group": "volume" }, [{ "skep.quiesce": "pause", "skep.group": "container" }]);
    const services = [service("s0", { "skep.quiesce": "stop" })];
    const rules = [
      volumeRuleSchema.parse({ match: "d*", exclude: ["a"] }),
      volumeRuleSchema.parse({ match: "node1/db", exclude: ["b"] }),
      volumeRuleSchema.parse({ match: "node2/db", exclude: ["c"] }),
    ];
    const { words, faults } = said([view("node1", volume)], { rules, services });
    expect(words).to.deep.equal({ quiesce: "stop", group: "volume", exclude: ["b"] });
    expect(faults).to.deep.equal([]);
  });

  it("clash where those that use a volume disagree, unless the volume or the policy settles it", () => {
    const users = [{ "skep.quiesce": "pause" }, { "skep.quiesce": "stop" }];
    expect(said([view("n1", found({}, users))]).faults).to.deep.equal([
      "those that use db say skep.quiesce=pause and stop",
    ]);
    expect(said([view("n1", found({ "skep.quiesce": "stop" }, users))]).faults).to.deep.equal([]);
    const rules = [volumeRuleSchema.parse({ match: "db", quiesce: "stop" })];
    const settled = said([view("n1", found({}, users))], { rules });
    expect(settled).to.deep.include({ words: { quiesce: "stop" }, faults: [] });
    const dumps = [{ "skep.dump": "a" }, { "skep.dump": "b" }];
    expect(said([view("n1", found({}, dumps))]).faults).to.deep.equal(["those that use db say different skep.dump"]);
  });

  it("leave nothing out while they disagree on that", () => {
    const { words, faults } = said([view("n1", found({}, [{ "skep.enable": "true" }, { "skep.enable": "false" }]))]);
    expect(words.enable).to.equal(undefined);
    expect(faults).to.deep.equal(["those that use db say skep.enable=true and false"]);
  });

  it("have their slips of the pen overruled by the policy, word by word", () => {
    const volume = found({ "skep.quiesce": "puase", "skep.dump.timeout": "soon", "skep.quiece": "stop" });
    const faults = (rule: object): number =>
      said([view("n1", volume)], { rules: [volumeRuleSchema.parse({ match: "db", ...rule })] }).faults.length;
    expect(faults({})).to.equal(4);
    expect(faults({ quiesce: "pause" })).to.equal(3);
    expect(faults({ quiesce: "pause", dump: { command: "x" } }), "what is no word stays a fault").to.equal(1);
  });

  describe("are the services whose definition mounts the volume, while none of their containers runs", () => {
    const alone = view("n1", found({}));
    const words = { "skep.enable": "false", "skep.exclude": "tmp", "skep.quiesce": "stop", "skep.group": "g" };
    const commands = { "skep.dump": "dump", "skep.hook.pre": "sync" };

    it("at no replicas, with all that does not prepare a program", () => {
      const services = [service("s", { ...words, ...commands }, { replicas: 0 })];
      const { words: all, missing } = said([alone], { services });
      expect(Object.keys(all).sort()).to.deep.equal(["dump", "enable", "exclude", "group", "quiesce"]);
      expect(missing).to.deep.equal([]);
    });

    it("restarting, and then it is one to be stopped", () => {
      const services = [service("s", { ...words, ...commands })];
      const { words: all, missing } = said([alone], { services });
      expect(Object.keys(all)).to.have.length(6);
      expect(missing).to.deep.equal([{ serviceId: "s", name: "s" }]);
      const label = { labels: {}, containerLabels: { "skep.enable": "false" } };
      expect(said([alone], { services: [service("s", {}, label)] }).words.enable).to.equal(false);
    });

    it("on the nodes for which they are meant, by the name that the node gives the volume", () => {
      const on = (more: Partial<Service>): boolean | undefined =>
        said([alone], { services: [service("s", words, more)] }).words.enable;
      expect(on({ mayRunOn: ["n2"] })).to.equal(undefined);
      expect(on({ mayRunOn: ["n1", "n2"] })).to.equal(false);
      expect(on({ volumes: ["other"] })).to.equal(undefined);
      const named = (name: string, source: string): boolean | undefined =>
        said([view("n1", found({}, [], name))], { services: [service("s", words, { volumes: [source] })] }).words
          .enable;
      expect(named("n1-data", "{{.Node.Hostname}}-data")).to.equal(false);
      expect(named("n2-data", "{{ .Node.Hostname }}-data")).to.equal(undefined);
      expect(named("s-3", "{{.Service.Name}}-{{.Task.Slot}}")).to.equal(false);
      expect(named("t-3", "{{.Service.Name}}-{{.Task.Slot}}")).to.equal(undefined);
      expect(named("t-3", '{{index .Service.Labels "x"}}')).to.equal(undefined);
    });

    it("and of a volume that they left behind they say no more than whether and what of it is taken", () => {
      const running = view("n2", found({}, [{}]));
      const services = [service("s0", { ...words, ...commands })];
      expect(said([alone, running], { services }).words).to.deep.equal({ enable: false, exclude: ["tmp"] });
      const twice = [service("s0", { ...words, ...commands }, { replicas: 2 })];
      expect(said([alone, running], { services: twice }).missing).to.have.length(1);
      const global = [service("s0", { ...words, ...commands }, { mode: "global", replicas: null })];
      expect(said([alone, running], { services: global }).missing).to.have.length(1);
    });
  });

  it("are containers of no service also while they are stopped, unless another one runs in their place", () => {
    const stopped = {
      container: "old",
      serviceId: null,
      uses: "all" as const,
      runs: false,
      labels: { "skep.dump": "x", "skep.hook.pre": "y" },
    };
    const volume = found({});
    volume.users.push(stopped);
    expect(said([view("n1", volume)])).to.deep.include({
      words: { dump: { command: ["/bin/sh", "-c", "x"] } },
      users: [],
    });
    volume.users.push({ ...stopped, container: "new", runs: true, labels: {} });
    expect(said([view("n1", volume)]).words).to.deep.equal({});
  });

  it("are where their commands run, as long as neither the volume nor the policy says the same", () => {
    const commands = { "skep.dump": "x", "skep.load": "y", "skep.hook.pre": "sync" };
    const volume = found({}, [{}, { "skep.load": "y" }]);
    const services = [service("s0", {}), service("s1", { "skep.dump": "x" }, { name: "db" })];
    const own = {
      container: "plain",
      serviceId: null,
      uses: "all" as const,
      runs: true,
      labels: { "skep.hook.pre": "sync" },
    };
    volume.users.push(own);
    const of = (labels: Labels, rule: object = {}): Said["speakers"] =>
      said([view("n1", { ...volume, facts: { ...volume.facts, labels } })], {
        services,
        rules: [volumeRuleSchema.parse({ match: "db", ...rule })],
      }).speakers;
    const db = { name: "db", nodeIds: ["n1"] };
    expect(of({})).to.deep.equal({ dump: db, load: db, hook: { name: "plain", nodeIds: ["n1"] } });
    expect(of(commands)).to.deep.equal({});
    expect(of({}, { dump: { command: "x" } })).to.have.all.keys("load", "hook");
    const absent = said([view("n1", found({}, [{}]))], { services: [service("late", commands, { name: "late" })] });
    expect(absent.speakers.dump).to.deep.equal({ name: "late", nodeIds: [] });
  });

  describe("are those that use only a folder in it", () => {
    const content = { "skep.dump": "x", "skep.load": "y", "skep.enable": "false", "skep.exclude": "tmp" };
    const user = (container: string, labels: Labels, more: Partial<FoundVolume["users"][number]> = {}) => ({
      ...{ container, serviceId: null, uses: "part" as const, runs: true, labels },
      ...more,
    });
    const on = (...users: FoundVolume["users"]): FoundVolume => ({ ...found({}, [], "app"), users });

    it("with what they say of its quiet, and nothing of what is taken, which is told", () => {
      const web = user("web", {}, { uses: "all" });
      const db = user("db", { ...content, "skep.quiesce": "pause", "skep.group": "g", "skep.hook.pre": "sync" });
      const { words, faults, users } = said([view("n1", on(web, db))]);
      expect(Object.keys(words).sort()).to.deep.equal(["group", "hook", "quiesce"]);
      expect(users.map(({ container, uses }) => `${container} ${uses}`)).to.deep.equal(["web all", "db part"]);
      expect(faults).to.have.length(4);
      expect(faults[0]).to.match(
        /^skep\.\w+ of container db does not count for volume app, of which it uses only a folder$/,
      );
      const rules = [volumeRuleSchema.parse({ match: "app", dump: { command: "z" }, enable: true, exclude: ["a"] })];
      expect(said([view("n1", on(web, db))], { rules }).faults).to.have.length(1);
    });

    it("and it is no fault where their words are about a volume of their own", () => {
      const own = { ...found({}, [], "app-db"), users: [user("db", content, { uses: "all" })] };
      const views = [view("n1", on(user("db", content))), view("n1", own)];
      expect(said(views)).to.deep.include({ words: {}, faults: [] });
      expect(said(views, {}, views.slice(1)).words).to.include({ enable: false });
    });

    it("and they silence no stopped container that used all of it", () => {
      const web = user("web", { "skep.dump": "x" }, { uses: "all", runs: false });
      expect(said([view("n1", on(web, user("db", {})))]).words).to.have.property("dump");
      const former = user("db-old", { "skep.quiesce": "stop" }, { runs: false });
      expect(said([view("n1", on(user("web", {}, { uses: "all" }), former))]).words).to.deep.equal({ quiesce: "stop" });
    });
  });

  it("are missed where the swarm's definitions could not be read", () => {
    const volume = view("n1", found({}, [{}]));
    expect(said([volume], { services: null }).faults.join()).to.contain("service of c0 are not known");
    expect(said([volume]).faults).to.deep.equal([]);
    expect(said([view("n1", found({}))], { services: null }).faults).to.deep.equal([]);
  });

  it("are those of all nodes that share it", () => {
    const views = [view("n1", found({})), view("n2", found({}, [{ "skep.quiesce": "pause" }], "films"))];
    const rules = [volumeRuleSchema.parse({ match: "n2/films", exclude: ["a"] })];
    const { words, users } = said(views, { rules }, views);
    expect(words).to.deep.equal({ quiesce: "pause", exclude: ["a"] });
    expect(users).to.deep.equal([{ nodeId: "n2", container: "c0", serviceId: "s0", uses: "all" }]);
    const divided = [view("n1", found({ "skep.enable": "false" })), view("n2", found({ "skep.enable": "true" }))];
    expect(said(divided, {}, divided)).to.deep.include({ words: {} });
    expect(said(divided, {}, divided).faults).to.deep.equal([
      "the volumes of db on its nodes say skep.enable=false and true",
    ]);
  });
});
