// Which versions of an S3 bucket are an object's own. "null" is the version of what lies in a bucket that keeps none, where it says
// nothing; and of what was put before a bucket kept them, where it is the first of its key as soon as something lies over it.
import type { ObjectVersion } from "./store.ts";

const unversioned = "null";

/** Of one page: `versions` by key, those of one from the newest to the oldest; `marks`: of deletions, which are versions too. */
export interface VersionsPage {
  versions: readonly ObjectVersion[];
  marks: readonly { key: string }[];
}

/** Without the "null" of keys that have no other version. */
export async function* keptVersions(pages: AsyncIterable<VersionsPage>): AsyncGenerator<ObjectVersion> {
  let last: string | null = null;
  let held: ObjectVersion | null = null;
  for await (const { versions, marks } of pages) {
    const marked = new Set(marks.map(({ key }) => key));
    for (const version of versions) {
      const { key } = version;
      const isAlone = last !== key && !marked.has(key);
      // Newer than others where versions were suspended for a time.
      if (held?.key === key) yield held;
      held = null;
      last = key;
      if (version.versionId === unversioned && isAlone) held = version;
      else yield version;
    }
    // A mark may close a page whose next one begins with what it hides.
    const [end] = [...marked].sort().slice(-1);
    if (end !== undefined && (last === null || end > last)) last = end;
  }
}
