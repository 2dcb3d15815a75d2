// Sizes and times for people. JSON output carries bytes and ISO 8601 instead.
import prettyBytes from "pretty-bytes";
import prettyMilliseconds from "pretty-ms";

/** `1.5 MiB`; `0 B` for nothing. */
export function bytes(sizeBytes: number): string {
  return prettyBytes(sizeBytes, { binary: true });
}

/** `850ms`, `12s`, `3m 4s`, `2h 5m`: two units at most. */
export function duration(milliseconds: number): string {
  return prettyMilliseconds(Math.max(0, milliseconds), {
    ...(milliseconds < 10_000 ? {} : { secondsDecimalDigits: 0 }),
    unitCount: 2,
  });
}

/** Between two ISO 8601 times. */
export function durationBetween(startedAt: string, endedAt: string): string {
  return duration(Date.parse(endedAt) - Date.parse(startedAt));
}

/** `5 minutes ago`, `in 2 days`: one unit, rounded down. `now` in ms since 1970. */
export function age(at: string, now: number): string {
  const seconds = (Date.parse(at) - now) / 1000;
  const units = [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
    ["second", 1],
  ] as const;
  for (const [unit, length] of units) {
    if (Math.abs(seconds) >= length || unit === "second") {
      return new Intl.RelativeTimeFormat("en", { numeric: "always" }).format(Math.trunc(seconds / length), unit);
    }
  }
  return at;
}

/** `2026-11-21 03:00:00 UTC`: an ISO 8601 time as a person reads it. */
export function time(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

/** `1 volume`, `3 volumes`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** At most `length` columns of text, its end replaced by `…`; what would move the cursor or colour is made visible. */
export function clip(text: string, length: number): string {
  const plain = visible(text);
  return plain.length <= length ? plain : `${plain.slice(0, Math.max(0, length - 1))}…`;
}

/** Names come from outside: control characters would play with the terminal, so they are written as `\x1b`. */
export function visible(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
