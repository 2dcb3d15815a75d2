// YAML that somebody else wrote. It is looked at before it is parsed: the parser's time grows with the square of the nesting, and
// for keys within keys (`? ? ?`) by the power of it: some kilobytes of brackets would hold it up for ever.
import { Lexer, parseDocument } from "yaml";

/** No document of Skep is half as deep. */
const deepest = 64;

/**
 * The value of what is not nested too deep. Throws an Error that says what is wrong, also where the parser would go on with
 * a warning on stderr, such as for a tag that it does not know, and for an alias.
 */
export function parseYaml(text: string): unknown {
  const document = parseDocument(text);
  const [fault] = [...document.errors, ...document.warnings];
  if (fault !== undefined) throw fault;
  return document.toJS({ maxAliasCount: 0 });
}

/** True for what is not to be parsed. Takes time by the length of the text alone. */
export function isNestedTooDeep(text: string): boolean {
  let brackets = 0;
  let marksOfLine = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === "\n") marksOfLine = 0;
    // Within brackets they tell no depth: a mapping in one line has one for each pair.
    else if ((token === "-" || token === "?" || token === ":") && brackets <= 0) marksOfLine++;
    else if (token === "{" || token === "[") brackets++;
    else if (token === "}" || token === "]") brackets--;
    else if (/^ +$/.test(token) && token.length > deepest * 8) return true;
    if (Math.max(brackets, marksOfLine) > deepest) return true;
  }
  return false;
}
