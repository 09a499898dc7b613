/** A value as a filter takes it literally (RFC 4515 3): nothing in it can change the filter's meaning. */
export function escapeFilterValue(value: string): string {
  return value.replace(
    /[\0()*\\]/g,
    (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Puts the parameters, escaped, in the places `{0}`, `{1}` … of a filter; places without one stay as they are. */
export function fillFilter(filter: string, parameters: readonly string[]): string {
  return filter.replace(/\{(\d{1,3})\}/g, (place, number: string) => {
    const value = parameters[Number(number)];
    return value === undefined ? place : escapeFilterValue(value);
  });
}
