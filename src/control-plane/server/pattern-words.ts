import { FINGERPRINT_PATTERN } from '../../contract/ssh-fields.ts';
import { LINE, NAME, TIME_PATTERN } from './field-schemas.ts';

const letters = 'start with a letter or digit and consist of letters, digits';

const words: Readonly<Record<string, string>> = {
  [NAME]: `must ${letters}, space, \`.\`, \`_\` and \`-\``,
  [LINE]: 'must be one line without control characters',
  [TIME_PATTERN]: 'must be a time as in RFC 3339, such as 2027-01-01T00:00:00Z',
  [FINGERPRINT_PATTERN]: 'must be SHA256: and 43 characters of base64, as OpenSSH prints a fingerprint',
  '^[^\\u0000]*$': 'must not contain the character NUL',
  '^[\\p{L}\\p{Nd}][\\p{L}\\p{M}\\p{Nd} ._-]*$': `must ${letters}, space, \`.\`, \`_\` and \`-\``,
  '^[A-Za-z0-9][A-Za-z0-9._@-]*$': `must ${letters}, \`.\`, \`_\`, \`@\` and \`-\``,
  '^[A-Za-z_][A-Za-z0-9_]*$': 'must start with a letter or `_` and consist of letters, digits and `_`',
  '^[A-Za-z0-9_.:*-]+$': 'must consist of letters, digits, `_`, `.`, `:`, `*` and `-`',
};

/** What text of a pattern must be, said in words; undefined for a pattern that has none. */
export function patternWords(pattern: string): string | undefined {
  if (Object.hasOwn(words, pattern)) return words[pattern];
  if (pattern.endsWith('(,(asc|desc))?$'))
    return 'must be the name of a field, alone or followed by `,asc` or `,desc`';
  const number = /^\^(\[1-9\])?\[0-9\]\{[01],(\d+)\}\$$/.exec(pattern);
  if (!number) return undefined;
  const [, positive, digits] = number;
  return positive
    ? `must be a whole number from 1 to ${'9'.repeat(Number(digits) + 1)}`
    : `must be a whole number from 0 to ${'9'.repeat(Number(digits))}`;
}
