// How services and engines name images (distribution/reference): the same image by its short name, its full one, with and
// without its tag. Pure.

export interface ImageReference {
  /** As Docker shows it: without docker.io and library. */
  repository: string;
  /** Null where there is none, and no digest either that would make one needless. */
  tag: string | null;
  /** `sha256:…`. */
  digest: string | null;
}

/** Null for what names no image: an id, or nothing. */
export function parseReference(text: string): ImageReference | null {
  const [named = "", digest = null] = text.split("@");
  const [, path = "", tag = null] = /^(.*?)(?::([\w][\w.-]{0,127}))?$/.exec(named) ?? [];
  if (path === "" || /^sha256:/.test(text) || /^[0-9a-f]{64}$/.test(path)) return null;
  const repository = path.replace(/^(?:index\.)?docker\.io\//, "").replace(/^library\//, "");
  return { repository, tag: tag ?? (digest === null ? "latest" : null), digest };
}

/** The registry's host, as credentials are kept by; Docker's own is `docker.io`. */
export function registryOf({ repository }: ImageReference): string {
  const [first = "", ...rest] = repository.split("/");
  // A first part is a host where it could be none else (distribution/reference, splitDockerDomain).
  return rest.length > 0 && (/[.:]/.test(first) || first === "localhost") ? first : "docker.io";
}

/** True where an engine with these tags and digests has what is named: by its digest, where the name has one. */
export function namesImage(
  reference: ImageReference,
  { tags, digests }: { tags: readonly string[]; digests: readonly string[] },
): boolean {
  const { repository, tag, digest } = reference;
  const same = (text: string): ImageReference | null => {
    const other = parseReference(text);
    return other?.repository === repository ? other : null;
  };
  if (digest !== null) return digests.some((text) => same(text)?.digest === digest);
  return tags.some((text) => same(text)?.tag === tag);
}

/** Without its digest: for people. */
export function shortName({ repository, tag, digest }: ImageReference): string {
  return tag === null ? `${repository}@${digest?.slice(0, 19) ?? ""}` : `${repository}:${tag}`;
}

/**
 * A name by which a loaded image can be had where its digest can't be: a load gives an image no digest. It tells which tag
 * and which digest it stands for, and no registry has it.
 */
export function loadedName({ repository, tag, digest }: ImageReference): string {
  const short = digest?.replace(/^sha256:/, "").slice(0, 12) ?? "";
  return `${repository}:${tag === null ? "" : `${tag.slice(0, 100)}-`}skep-${short}`;
}
