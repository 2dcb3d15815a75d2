// The labels that are meant for Skep.

/** Those that begin with `skep.`, cut to what a result may carry. */
export function skepLabels(labels: Readonly<Record<string, string>> | null | undefined): Record<string, string> {
  const found = Object.entries(labels ?? {}).filter(([name]) => name.startsWith("skep."));
  return Object.fromEntries(found.map(([name, value]) => [name.slice(0, 1024), value.slice(0, 65_536)]));
}
