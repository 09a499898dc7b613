const space = /[ \t\r\n]*/y;
const scalar =
  /"(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/uy;

/** Line (from 1) of the first syntax error of a JSON text (RFC 8259); engines mostly keep it to themselves. */
export function faultLine(text: string): number {
  return text.slice(0, faultOffset(text)).split('\n').length;
}

/** Where the text stops being JSON; its length when only the end is missing. */
function faultOffset(text: string): number {
  let at = 0;
  const skip = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? '';
    at += found.length;
    return found;
  };
  const take = (character: string): boolean => {
    skip(space);
    if (text[at] !== character) return false;
    at++;
    return true;
  };
  /** What is open around the place, innermost last. */
  const open: ('{' | '[')[] = [];
  const name = () => {
    skip(space);
    return text[at] === '"' && skip(scalar) !== '' && take(':');
  };
  for (;;) {
    // A value is due here.
    if (take('{')) {
      if (!take('}')) {
        open.push('{');
        if (!name()) return at;
        continue;
      }
    } else if (take('[')) {
      if (!take(']')) {
        open.push('[');
        continue;
      }
    } else if (skip(scalar) === '') return at;
    // A value has ended: so may what is around it.
    for (;;) {
      const around = open.at(-1);
      if (around === undefined) {
        skip(space);
        return at;
      }
      if (take(',')) {
        if (around === '{' && !name()) return at;
        break;
      }
      if (!take(around === '{' ? '}' : ']')) return at;
      open.pop();
    }
  }
}
