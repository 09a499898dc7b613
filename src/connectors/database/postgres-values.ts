/** Turns a value in PostgreSQL's text format into one fit for JSON. */
export type TextParser = (text: string) => unknown;

const asText: TextParser = (text) => text;

// JSON has no NaN and no Infinity: those stay text, as `bigint` and `numeric` do.
const asNumber: TextParser = (text) => {
  const value = Number(text);
  return Number.isFinite(value) ? value : text;
};

/** Only numbers of so many digits, or with an exponent, may be more than a double holds. */
const mayLoseDigits = /\d[\d.]{15}|\d[eE]/;

/** JSON whose numbers stay text where a double does not hold them. */
function parseExactly(text: string): unknown {
  const keep = (_name: string, value: unknown, { source = '' }: { source?: string } = {}) =>
    typeof value === 'number' && !isHeld(source, value) ? source : value;
  return JSON.parse(text, keep);
}

function isHeld(source: string, value: number): boolean {
  if (String(value) === source) return true;
  const digits = source
    .replace(/[eE].*$/, '')
    .replace(/[-.]/g, '')
    .replace(/^0+/, '');
  return digits.length <= 15 && Number.isFinite(value) && (value !== 0 || digits === '');
}

const asJson: TextParser = (text) => {
  try {
    return mayLoseDigits.test(text) ? parseExactly(text) : JSON.parse(text);
  } catch {
    return text;
  }
};

const asBase64: TextParser = (text) =>
  text.startsWith('\\x') ? Buffer.from(text.slice(2), 'hex').toString('base64') : text;

/** `2026-01-31 10:00:00.5+03` → `2026-01-31T10:00:00.5+03:00`; `infinity` and years BC stay as they are. */
export const asIsoTimestamp: TextParser = (text) => {
  const parts = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(?:([+-]\d\d)(:\d\d)?(:\d\d)?)?$/.exec(text);
  if (!parts) return text;
  const [, date, time, hours, minutes = ':00', seconds = ''] = parts;
  return `${date}T${time}${hours ? `${hours}${minutes}${seconds}` : ''}`;
};

/** `{1,NULL,"a \"b\""}` → a list, nested as the dimensions are; explicit bounds (`[2:3]={…}`) are dropped. */
export function parseArray(text: string, element: TextParser): unknown {
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  if (text[at] !== '{') return text;
  const list = (): unknown[] => {
    const items: unknown[] = [];
    at++;
    while (at < text.length && text[at] !== '}') {
      if (text[at] === '{') items.push(list());
      else items.push(item());
      if (text[at] === ',') at++;
    }
    at++;
    return items;
  };
  const item = (): unknown => {
    let value = '';
    if (text[at] === '"') {
      for (at++; at < text.length && text[at] !== '"'; at++) {
        if (text[at] === '\\') at++;
        value += text[at];
      }
      at++;
      return element(value);
    }
    while (at < text.length && text[at] !== ',' && text[at] !== '}') value += text[at++];
    return value === 'NULL' ? null : element(value);
  };
  return list();
}

const arrayOf =
  (element: TextParser): TextParser =>
  (text) =>
    parseArray(text, element);

const asBoolean: TextParser = (text) => text === 't';

/** By type OID, which is fixed for the types of `pg_catalog`; every other type stays text. */
const parsers: Readonly<Record<number, TextParser>> = {
  16: asBoolean,
  17: asBase64,
  21: asNumber,
  23: asNumber,
  26: asNumber,
  114: asJson,
  199: arrayOf(asJson),
  700: asNumber,
  701: asNumber,
  1000: arrayOf(asBoolean),
  1001: arrayOf(asBase64),
  1005: arrayOf(asNumber),
  1007: arrayOf(asNumber),
  1009: arrayOf(asText),
  1014: arrayOf(asText),
  1015: arrayOf(asText),
  1016: arrayOf(asText),
  1021: arrayOf(asNumber),
  1022: arrayOf(asNumber),
  1028: arrayOf(asNumber),
  1041: arrayOf(asText),
  1114: asIsoTimestamp,
  1115: arrayOf(asIsoTimestamp),
  1182: arrayOf(asText),
  1184: asIsoTimestamp,
  1185: arrayOf(asIsoTimestamp),
  1231: arrayOf(asText),
  2951: arrayOf(asText),
  3802: asJson,
  3807: arrayOf(asJson),
};

/** The parser of a type by its OID. */
export function parserOf(oid: number): TextParser {
  return parsers[oid] ?? asText;
}
