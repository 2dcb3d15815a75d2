// JSON text that somebody else wrote.

/** Its value; undefined for what is no JSON, which no schema takes. So nothing of the text gets into an error. */
export function parseJsonText(text: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof text === "string" ? text : Buffer.from(text).toString("utf8"));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
