import { BSON, Long } from 'mongodb';

const { EJSON } = BSON;

/** A body in MongoDB Extended JSON v2 as BSON has it: `{"$oid": …}` becomes an ObjectId. */
export function fromJson<T extends object>(value: T): T {
  // Relaxed, it would read a `$numberLong` as a number that cannot hold it.
  return EJSON.deserialize(value, { relaxed: false }) as T;
}

/** BSON as relaxed Extended JSON v2; integers that a JSON number cannot hold exactly stay `{"$numberLong": …}`. */
export function toJson(value: unknown): unknown {
  return EJSON.serialize({ value: keepLongs(value) }, { relaxed: true })['value'] as unknown;
}

function keepLongs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(keepLongs);
  if (Long.isLong(value)) {
    const number = value.toNumber();
    return Number.isSafeInteger(number) ? number : { $numberLong: value.toString() };
  }
  if (typeof value !== 'object' || value === null) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype || '_bsontype' in value) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, keepLongs(item)]));
}
