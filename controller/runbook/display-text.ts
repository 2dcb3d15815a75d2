// Names from outside in Markdown: on one line, and with nothing that begins markup.
export function displayText(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "�").replaceAll(/[\\`*_<>|[\]#]/g, "\\$&");
}
