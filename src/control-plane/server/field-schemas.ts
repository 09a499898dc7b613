import { Type } from 'typebox';

const TEXT = '^[^\\u0000]*$';
export const LINE = '^[^\\u0000-\\u001f\\u007f]+$';
/** A name that is also a path segment and a word of log lines. */
export const NAME = '^[A-Za-z0-9][A-Za-z0-9._ -]*$';

export const nameField = (description: string) =>
  Type.String({ minLength: 1, maxLength: 255, pattern: NAME, description });

/** One line of free text. */
export const lineField = (description: string) =>
  Type.String({ minLength: 1, maxLength: 255, pattern: LINE, description });

export const descriptionField = Type.Unsafe<string | null>({
  type: ['string', 'null'],
  maxLength: 4000,
  pattern: TEXT,
});

export const nullableText = Type.Unsafe<string | null>({ type: ['string', 'null'] });

/** RFC 3339 with an offset. */
export const TIME_PATTERN =
  '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})$';

export const pathSegment = Type.String({ minLength: 1, maxLength: 255 });
