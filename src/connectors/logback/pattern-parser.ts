/** How many characters a converted value takes, as Logback's FormatInfo: padding first, then what is cut off. */
export interface Format {
  min: number;
  max: number;
  padLeft: boolean;
  truncateLeft: boolean;
}

export type PatternNode =
  | { kind: 'literal'; text: string }
  | { kind: 'keyword'; word: string; format?: Format; options?: string[] }
  | { kind: 'composite'; word: string; format?: Format; options?: string[]; children: PatternNode[] };

type Token =
  | { kind: 'literal' | 'format' | 'keyword' | 'composite'; text: string }
  | { kind: 'percent' | 'right' }
  | { kind: 'options'; options: string[] };

/** Which escapes a pattern knows: those of a layout, or the two of a file name. */
export type EscapeStyle = 'layout' | 'file-name';

/** Word of parentheses without one, `%-20(…)`. */
export const bareComposite = 'BARE';

const identifierStart = /^[\p{L}\p{Nl}\p{Sc}\p{Pc}]$/u;
const identifierPart = /^[\p{L}\p{Nl}\p{Sc}\p{Pc}\p{Nd}\p{Mn}\p{Mc}\p{Cf}]$/u;

/**
 * Reads a pattern by the grammar of Logback 1.5, and `%%` as a percent sign, which Logback refuses.
 * Throws an Error that says what is wrong.
 */
export function parsePattern(pattern: string, escapes: EscapeStyle): PatternNode[] {
  const tokens = new Tokenizer(pattern, escapes).tokens();
  let at = 0;

  const options = (): { options?: string[] } => {
    const token = tokens[at];
    if (token?.kind !== 'options') return {};
    at++;
    return { options: token.options };
  };
  const conversion = (format?: Format): PatternNode => {
    const token = tokens[at++];
    const common = format ? { format } : {};
    if (token?.kind === 'keyword') return { kind: 'keyword', word: token.text, ...common, ...options() };
    if (token?.kind !== 'composite') throw new Error('a conversion word is missing after %');
    const children = sequence();
    if (tokens[at++]?.kind !== 'right') throw new Error('a right parenthesis is missing');
    return { kind: 'composite', word: token.text, ...common, children, ...options() };
  };
  const sequence = (): PatternNode[] => {
    const nodes: PatternNode[] = [];
    for (;;) {
      const token = tokens[at];
      if (token?.kind === 'literal') {
        at++;
        nodes.push({ kind: 'literal', text: token.text });
      } else if (token?.kind === 'percent') {
        const next = tokens[++at];
        if (next?.kind === 'format') {
          at++;
          nodes.push(conversion(parseFormat(next.text)));
        } else nodes.push(conversion());
      } else return nodes;
    }
  };
  // What follows a right parenthesis too many is dropped, as by Logback.
  return sequence();
}

const noMax = 2 ** 31 - 1;

function parseFormat(text: string): Format {
  const dot = text.indexOf('.');
  const minPart = dot < 0 ? text : text.slice(0, dot);
  const maxPart = dot < 0 ? '' : text.slice(dot + 1);
  if (dot >= 0 && maxPart === '') throw new Error(`the format ${text} must not end with a dot`);
  const read = (part: string) => {
    if (!/^[+-]?[0-9]{1,9}$/.test(part)) throw new Error(`${part} is not a number of characters`);
    return Number(part);
  };
  const min = minPart ? read(minPart) : 0;
  const max = maxPart ? read(maxPart) : noMax;
  return { min: Math.abs(min), max: Math.abs(max), padLeft: min >= 0, truncateLeft: max >= 0 };
}

class Tokenizer {
  readonly #pattern: string;
  readonly #escapes: EscapeStyle;
  readonly #tokens: Token[] = [];
  #at = 0;
  #buffer = '';

  constructor(pattern: string, escapes: EscapeStyle) {
    this.#pattern = pattern;
    this.#escapes = escapes;
  }

  tokens(): Token[] {
    let state: 'literal' | 'format' | 'keyword' | 'right' | 'options' = 'literal';
    const pattern = this.#pattern;
    while (this.#at < pattern.length) {
      const c = pattern[this.#at++]!;
      switch (state) {
        case 'literal':
          if (c === '\\') this.#escape('%()');
          else if (c === '%') {
            this.#flush('literal');
            this.#tokens.push({ kind: 'percent' });
            state = 'format';
          } else if (c === ')') {
            this.#flush('literal');
            state = 'right';
          } else this.#buffer += c;
          break;
        case 'format':
          if (c === '(') {
            this.#flush('format');
            this.#tokens.push({ kind: 'composite', text: bareComposite });
            state = 'literal';
          } else if (c === '%' && this.#buffer === '') {
            this.#tokens.pop();
            this.#buffer = '%';
            state = 'literal';
          } else if (identifierStart.test(c)) {
            this.#flush('format');
            this.#buffer = c;
            state = 'keyword';
          } else this.#buffer += c;
          break;
        case 'keyword':
          if (identifierPart.test(c)) this.#buffer += c;
          else if (c === '{') {
            this.#flush('keyword');
            state = 'options';
          } else if (c === '(') {
            this.#flush('composite');
            state = 'literal';
          } else {
            this.#flush('keyword');
            if (c === '%') {
              this.#tokens.push({ kind: 'percent' });
              state = 'format';
            } else if (c === ')') state = 'right';
            else {
              if (c === '\\') this.#escape('%()');
              else this.#buffer += c;
              state = 'literal';
            }
          }
          break;
        case 'right':
          this.#tokens.push({ kind: 'right' });
          if (c === ')') break;
          if (c === '{') state = 'options';
          else {
            if (c === '\\') this.#escape('%{}');
            else this.#buffer += c;
            state = 'literal';
          }
          break;
        case 'options':
          this.#options(c);
          state = 'literal';
      }
    }
    if (state === 'literal') this.#flush('literal');
    else if (state === 'keyword') this.#tokens.push({ kind: 'keyword', text: this.#buffer });
    else if (state === 'right') this.#tokens.push({ kind: 'right' });
    else throw new Error('the pattern ends unexpectedly');
    return this.#tokens;
  }

  #flush(kind: 'literal' | 'format' | 'keyword' | 'composite'): void {
    if (this.#buffer === '') return;
    this.#tokens.push({ kind, text: this.#buffer });
    this.#buffer = '';
  }

  #escape(escapable: string): void {
    const next = this.#pattern[this.#at];
    if (next === undefined) return;
    this.#at++;
    if (this.#escapes === 'file-name') {
      this.#buffer += next === '%' || next === ')' ? next : `\\${next}`;
      return;
    }
    const control = { '\\': '\\', _: '', t: '\t', r: '\r', n: '\n' }[next];
    if (escapable.includes(next)) this.#buffer += next;
    else if (control !== undefined) this.#buffer += control;
    else
      throw new Error(
        `\\${next} is not an escape: only \\\\ \\_ \\t \\n \\r and \\ before one of ${escapable}`,
      );
  }

  /** The options in braces, of which the first character is read already. */
  #options(first: string): void {
    const options: string[] = [];
    let state: 'expecting' | 'raw' | 'quoted' = 'expecting';
    let quote = '';
    let text = '';
    for (let c: string | undefined = first; c !== undefined; c = this.#pattern[this.#at++]) {
      if (state === 'expecting') {
        if (c === '}') {
          this.#tokens.push({ kind: 'options', options });
          return;
        }
        if (c === "'" || c === '"') {
          state = 'quoted';
          quote = c;
        } else if (!' \t\r\n,'.includes(c)) {
          state = 'raw';
          text = c;
        }
      } else if (state === 'raw') {
        if (c === ',' || c === '}') {
          options.push(text.trim());
          text = '';
          state = 'expecting';
          if (c === ',') continue;
          this.#tokens.push({ kind: 'options', options });
          return;
        }
        text += c;
      } else if (c === quote) {
        options.push(text);
        text = '';
        state = 'expecting';
      } else if (c === '\\') {
        const next = this.#pattern[this.#at++];
        text += `\\${next ?? ''}`;
      } else text += c;
    }
    throw new Error('a right brace is missing');
  }
}
