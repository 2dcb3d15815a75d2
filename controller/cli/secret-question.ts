// Asks for a secret at the terminal, its letters hidden; on stderr, for stdout may be a file.

/** `validate`: true, or what is wrong with the answer; then it is asked again. Throws what an interrupted prompt throws. */
export async function askSecret(
  message: string,
  signal: AbortSignal,
  validate: (answer: string) => true | string = () => true,
): Promise<string> {
  // Few commands ask, and every one would wait for this to be loaded.
  const { default: password } = await import("@inquirer/password");
  return await password({ message, validate }, { signal, output: process.stderr });
}
