import { type Static, type TObject, type TSchema, Type } from 'typebox';

/** Input of an operation that takes one item in place, or several of them as `messages`. */
export type OneOrMany<Item> = (Item & { messages?: undefined }) | { messages: Item[] };

/**
 * Schema of such an input; `identifying` is the field by which an item in place is known, and is
 * required in every item.
 */
export function oneOrMany<Fields extends Record<string, TSchema>>(
  fields: Fields,
  { identifying, maxItems = 10_000 }: { identifying: keyof Fields & string; maxItems?: number },
) {
  const required = Object.entries(fields)
    .filter(([, field]) => !Type.IsOptional(field))
    .map(([name]) => name);
  const properties = Object.fromEntries(Object.entries(fields));
  return Type.Unsafe<OneOrMany<Static<TObject<Fields>>>>({
    type: 'object',
    properties: {
      ...properties,
      messages: {
        type: 'array',
        description: `Several at once, in place of the fields beside it; at most ${maxItems}.`,
        items: { type: 'object', properties, required, additionalProperties: false },
        minItems: 1,
        maxItems,
      },
    },
    additionalProperties: false,
    oneOf: [
      {
        type: 'object',
        required: [...new Set([identifying, ...required])],
        not: { type: 'object', required: ['messages'] },
      },
      { type: 'object', required: ['messages'], maxProperties: 1 },
    ],
  });
}

/** The items of such an input, in order. */
export function itemsOf<Item>(input: OneOrMany<Item>): Item[] {
  return input.messages === undefined ? [input as Item] : input.messages;
}

/** Why one item of a batch failed while others did not. */
export const itemError = Type.Object({
  code: Type.String({ description: 'code as in the body of an error' }),
  message: Type.String(),
  retryable: Type.Boolean({ description: 'whether the same item can succeed later' }),
});
