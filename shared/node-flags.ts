// How processes of Skep that move data are started. By default V8 takes memory as the machine has it: 48 MiB for new objects,
// and four times what lives before it collects. That is a hundred MB more for a backup, and no time won.

/** MiB: what lives at most; below 2 GiB V8 collects earlier. */
const maxOldSpaceMiB = 1024;

/** Of a daemon: it may hold what the bounds of the chain allow (an entry of 512 MiB, as text and as objects). */
export const daemonFlags: readonly string[] = ["--max-semi-space-size=2"];

/** Of Node, before a program that moves data. */
export const nodeFlags: readonly string[] = [...daemonFlags, `--max-old-space-size=${maxOldSpaceMiB}`];

/** Of threads that hold little: a quarter of what lives is kept free at most. MiB. */
export const threadLimits = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 };
