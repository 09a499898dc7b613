/** One JSON value a line, each ended by a line feed. */
export const NDJSON = 'application/x-ndjson';

/** Whether an `Accept` header names NDJSON itself: a wildcard asks for nothing else than JSON. */
export function acceptsNdjson(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((range) => {
    const [type, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    return type === NDJSON && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  });
}

/** Whether a `Content-Type` header is NDJSON. */
export function isNdjson(contentType: string | undefined): boolean {
  return (
    /^[^;]*/
      .exec(contentType ?? '')![0]
      .trim()
      .toLowerCase() === NDJSON
  );
}
