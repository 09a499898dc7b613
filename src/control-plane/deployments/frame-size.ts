import type { DesiredConnection } from '../../contract/worker-protocol.ts';

/**
 * What the connections of one frame come to at most, in characters of JSON, unless it is a single one: the
 * stream takes far more, but each frame is held whole at both ends, and as often as there are workers.
 */
export const maxFrameChars = 4 * 1024 * 1024;

/** About how many characters of JSON a connection is; counted, since the embedded worker needs no text. */
export function charsOf({ config, objects, hostKeys, lastGood }: DesiredConnection): number {
  return chars([config, objects, hostKeys, lastGood]);
}

function chars(value: unknown): number {
  if (typeof value === 'string') return value.length + 3;
  if (typeof value !== 'object' || value === null) return 5;
  let sum = 2;
  if (Array.isArray(value)) for (const item of value) sum += chars(item);
  else for (const name in value) sum += name.length + 4 + chars((value as Record<string, unknown>)[name]);
  return sum;
}
