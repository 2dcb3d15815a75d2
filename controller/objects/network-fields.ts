/** What of a network must be as it was, as the engine's API names it: a network has no spec there. */
export const networkFields: readonly string[] = [
  "Name",
  "Driver",
  "EnableIPv6",
  "IPAM",
  "Internal",
  "Attachable",
  "Ingress",
  "Options",
  "Labels",
];
