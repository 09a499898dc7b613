/** One login module of a JAAS configuration: its class and its options. */
export interface LoginModule {
  readonly className: string;
  readonly options: ReadonlyMap<string, string>;
}

/**
 * Reads the value of `sasl.jaas.config`: exactly one `class flag name=value …;`. Throws a `SyntaxError`
 * whose text never quotes the configuration, which holds a password.
 */
export function parseJaas(text: string): LoginModule {
  const tokens = tokenize(text);
  const className = tokens[0];
  if (className?.kind !== 'word' || !/^[\w$]+(\.[\w$]+)+$/.test(className.text))
    throw new SyntaxError('it must begin with the class of a login module');
  const flag = tokens[1];
  if (flag?.kind !== 'word' || !/^(required|requisite|sufficient|optional)$/i.test(flag.text))
    throw new SyntaxError('the class must be followed by required, requisite, sufficient or optional');
  const options = new Map<string, string>();
  let at = 2;
  while (tokens[at] && tokens[at]!.kind !== ';') {
    const [name, equals, value] = tokens.slice(at, at + 3);
    if (name?.kind !== 'word' || equals?.kind !== '=' || (value?.kind !== 'word' && value?.kind !== 'quoted'))
      throw new SyntaxError('options must have the form name="value"');
    if (options.has(name.text)) throw new SyntaxError('an option is given twice');
    options.set(name.text, value.text);
    at += 3;
  }
  if (tokens[at]?.kind !== ';') throw new SyntaxError('it must end with a semicolon');
  if (at !== tokens.length - 1) throw new SyntaxError('it must hold one login module only');
  return { className: className.text, options };
}

interface Token {
  readonly kind: 'word' | 'quoted' | '=' | ';';
  readonly text: string;
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const char = text[at]!;
    if (/\s/.test(char)) {
      at++;
    } else if (char === '=' || char === ';') {
      tokens.push({ kind: char, text: char });
      at++;
    } else if (char === '"' || char === "'") {
      let value = '';
      at++;
      while (text[at] !== char) {
        if (at >= text.length) throw new SyntaxError('a quotation mark is not closed');
        if (text[at] === '\\' && at + 1 < text.length) {
          at++;
          value += escapes[text[at]!] ?? text[at]!;
        } else value += text[at];
        at++;
      }
      at++;
      tokens.push({ kind: 'quoted', text: value });
    } else {
      const word = /^[^\s=;"']+/.exec(text.slice(at))![0];
      tokens.push({ kind: 'word', text: word });
      at += word.length;
    }
  }
  return tokens;
}
