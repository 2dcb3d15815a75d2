// The question before something is changed. Without a terminal nobody can be asked: then --yes must have been given.
import { SkepError } from "../../shared/errors.ts";
import type { Session } from "./session.ts";

/** False where the answer is no. Throws SKEP_CLI_UNCONFIRMED where nobody can be asked, SKEP_CLI_INTERRUPTED. */
export async function agree({ output, signal }: Session, yes: boolean, question: string): Promise<boolean> {
  if (yes) return true;
  if (!output.interactive) {
    throw new SkepError({
      code: "SKEP_CLI_UNCONFIRMED",
      message: `there is no terminal to ask: ${question}`,
      permanent: true,
      hint: "add --yes to do it without being asked",
    });
  }
  // Loaded only where somebody is asked.
  const { default: confirm } = await import("@inquirer/confirm");
  try {
    return await confirm({ message: question, default: false }, { signal, output: process.stderr });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Error && error.name === "ExitPromptError") {
      throw new SkepError({ code: "SKEP_CLI_INTERRUPTED", message: "interrupted at the question", permanent: true });
    }
    throw error;
  }
}
