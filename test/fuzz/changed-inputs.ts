// Inputs that somebody else might send: bytes at random; right bytes with some changed, cut out or put in; and, of JSON,
// right text whose values are others. What parsers stumble over is put in more often than chance would.
import fc from "fast-check";

const bytesOf = (text: string): Uint8Array => Buffer.from(text, "latin1");

/** Of YAML, JSON, URLs, paths, UTF-8, tar. */
const stumblingBlocks = [
  ...Array.from("\0\n\r\t%:#&*!|>{}[]\"'-0"),
  "%zz",
  "\xff\xfe",
  "\xed\xa0\x80",
  "../",
  "<<: ",
  "*a ",
  "&a [*a] ",
  "!!binary x ",
  "!!set {a} ",
  "---\n",
  "__proto__",
  "-1",
  "1e999",
  "9007199254740993",
  "[".repeat(3000),
  "{a: ".repeat(3000),
  "- ".repeat(3000),
  "? ".repeat(3000),
].map(bytesOf);

const byteChange = fc.record({
  at: fc.nat(),
  cut: fc.oneof(fc.constant(0), fc.nat({ max: 40 }), fc.nat()),
  put: fc.oneof(fc.uint8Array({ maxLength: 12 }), fc.constantFrom(...stumblingBlocks)),
});

/** Stand in JSON for what JSON.stringify would not write. */
const standIns: readonly [string, string][] = [
  ['"@deep"', `${"[".repeat(5000)}${"]".repeat(5000)}`],
  ['"@infinite"', "1e999"],
  ['"@beyond"', "9007199254740993"],
  ['"@proto"', '"__proto__"'],
];

const oddValues: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  0.5,
  1e15,
  "",
  "x".repeat(100_000),
  "\0",
  "\ud800",
  "%zz",
  "..",
  "/",
  "a/../b",
  "-",
  "*",
  "file:///%zz",
  // The first and the last time of ISO 8601's four digits, and one without seconds.
  "0000-01-01T00:00:00.000Z",
  "9999-12-31T23:59:59.999999999Z",
  "2026-11-21T03:00Z",
  "2026-11-21T03:00:00.000Z",
  // As long as 32 bytes of base64, and 33 of them.
  "A".repeat(44),
  "=".repeat(44),
  8.64e15 + 1,
  2 ** 32,
  2 ** 53,
  -(2 ** 31),
  [],
  {},
  "@deep",
  "@infinite",
  "@beyond",
  "@proto",
];

const valueChange = fc.record({
  at: fc.nat(),
  act: fc.constantFrom("replace", "remove", "repeat", "add", "text"),
  value: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...oddValues) }, fc.jsonValue({ maxDepth: 2 })),
  piece: fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom("%", "\0", "../", "\n", "=", "A".repeat(5000))),
  name: fc.constantFrom("more", "@proto", "constructor", "toString", "0", "", "k".repeat(30_000)),
});
type ValueChange = typeof valueChange extends fc.Arbitrary<infer T> ? T : never;

/** What `sample` becomes. Of JSON, or lines of JSON, half of them stay JSON. */
export function changedInputs(sample: Uint8Array): fc.Arbitrary<Uint8Array> {
  const random = fc.uint8Array({ maxLength: 300 });
  const bytes = fc
    .array(byteChange, { minLength: 1, maxLength: 4 })
    .map((changes) => changes.reduce<Uint8Array>((changed, change) => withBytes(changed, change), sample));
  const lines = jsonLines(sample);
  const kinds = [
    { weight: 1, arbitrary: random },
    { weight: 4, arbitrary: bytes },
  ];
  if (lines === null) return fc.oneof(...kinds);
  const values = fc
    .tuple(fc.nat(lines.length - 1), fc.array(valueChange, { minLength: 1, maxLength: 3 }))
    .map(([which, changes]) => {
      const text = lines
        .map((line, at) => (at === which ? withValues(line, changes) : JSON.stringify(line)))
        .join("\n");
      return Buffer.from(Buffer.from(sample).toString("utf8").endsWith("\n") ? `${text}\n` : text, "utf8");
    });
  return fc.oneof(...kinds, { weight: 5, arbitrary: values });
}

function withBytes(bytes: Uint8Array, { at, cut, put }: { at: number; cut: number; put: Uint8Array }): Uint8Array {
  const from = at % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + (cut % (bytes.length + 1)))]);
}

/** Null where it is something else. */
function jsonLines(sample: Uint8Array): unknown[] | null {
  const lines = Buffer.from(sample).toString("utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  try {
    const values = lines.map((line) => JSON.parse(line) as unknown);
    return values.every((value) => typeof value === "object" && value !== null) && values.length > 0 ? values : null;
  } catch {
    return null;
  }
}

type Holder = Record<string, unknown>;

function withValues(line: unknown, changes: readonly ValueChange[]): string {
  const root: Holder = { top: structuredClone(line) };
  for (const change of changes) changeValue(root, change);
  return standIns.reduce(
    (text, [token, written]) => text.replaceAll(token, written),
    JSON.stringify(root["top"] ?? null),
  );
}

function changeValue(root: Holder, { at, act, value, piece, name }: ValueChange): void {
  const places = placesIn(root);
  const [holder, key] = places[at % places.length] as [Holder, string];
  const found = holder[key];
  if (act === "replace") holder[key] = structuredClone(value);
  else if (act === "remove" && holder !== root) Reflect.deleteProperty(holder, key);
  else if (act === "add" && typeof found === "object" && found !== null)
    (found as Holder)[name] = structuredClone(value);
  else if (act === "repeat" && Array.isArray(found)) found.push(...(structuredClone(found) as unknown[]));
  else if (act === "text" && typeof found === "string") {
    const cut = at % (found.length + 1);
    holder[key] = `${found.slice(0, cut)}${piece}${found.slice(cut + 1)}`;
  }
}

function placesIn(holder: Holder): [Holder, string][] {
  return Object.entries(holder).flatMap(([key, value]): [Holder, string][] => [
    [holder, key],
    ...(typeof value === "object" && value !== null ? placesIn(value as Holder) : []),
  ]);
}
