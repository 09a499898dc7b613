import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { promisify } from 'node:util';
import { deflate, gzip } from 'node:zlib';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { gelfLevels, type graylog } from './graylog.definition.ts';

export type GraylogConfig = ConfigOf<typeof graylog>;
export type LogInput = InputOf<(typeof graylog)['operations']['log']>;
export type GelfItem = NonNullable<LogInput['messages']>[number];

const maxDatagramBytes = 8192;
const chunkHeaderBytes = 12;
const maxChunks = 128;
const chunkMagic = Buffer.from([0x1e, 0x0f]);

const ownHost = hostname() || 'localhost';

const compressors = { GZIP: promisify(gzip), ZLIB: promisify(deflate) };

/** The message as GELF 1.1; fails with `bad_request` on a field that Graylog reserves. */
export function gelfPayload(config: GraylogConfig, item: GelfItem): string {
  const { message, fullMessage } = item;
  const fields = item.fields ? additionalFields(item.fields) : {};
  const hasFields = item.fields !== undefined && Object.keys(fields).length > 0;
  const appended =
    config.appendToMessage && hasFields
      ? JSON.stringify(
          Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.slice(1), value])),
        )
      : undefined;
  // What is undefined is left out of the JSON.
  const payload = {
    version: '1.1',
    host: item.host ?? ownHost,
    short_message: message,
    full_message: appended === undefined ? fullMessage : `${fullMessage ?? message}\n${appended}`,
    timestamp: (item.timestampMs ?? Date.now()) / 1000,
    level: gelfLevels.indexOf(item.level ?? config.gelfMessageLevel),
  };
  return JSON.stringify(config.appendToAttributes && hasFields ? { ...payload, ...fields } : payload);
}

function additionalFields(given: NonNullable<GelfItem['fields']>): Record<string, string | number> {
  const fields = Object.entries(given).flatMap(([name, value]) => {
    const field = name.startsWith('_') ? name : `_${name}`;
    if (field === '_id') throw new AppError('bad_request', 'The field _id is reserved by Graylog');
    if (!/^_[\w.-]+$/.test(field)) throw new AppError('bad_request', `'${name}' is no name of a GELF field`);
    return value === null ? [] : [[field, typeof value === 'boolean' ? String(value) : value] as const];
  });
  return Object.fromEntries(fields);
}

/** A frame of GELF TCP: never compressed, ended by a zero byte, which JSON cannot hold. */
export function streamFrame(config: GraylogConfig, item: GelfItem): string {
  return `${gelfPayload(config, item)}\0`;
}

/**
 * The datagrams of one message, compressed as configured; over 8192 bytes it is cut into chunks. Fails
 * with `message_too_large` when 128 of them do not hold it.
 */
export async function datagrams(config: GraylogConfig, item: GelfItem): Promise<Buffer[]> {
  const plain = Buffer.from(gelfPayload(config, item));
  const { compressionType } = config;
  const payload = compressionType === 'NONE' ? plain : await compressors[compressionType](plain);
  if (payload.length <= maxDatagramBytes) return [payload];
  const chunkBytes = maxDatagramBytes - chunkHeaderBytes;
  const count = Math.ceil(payload.length / chunkBytes);
  if (count > maxChunks)
    throw new AppError(
      'message_too_large',
      `${payload.length} bytes need ${count} chunks of GELF over UDP; at most ${maxChunks} are allowed`,
      { details: { hint: 'Compress by compressionType, or send over TCP, which has no such limit.' } },
    );
  const id = randomBytes(8);
  return Array.from({ length: count }, (_, at) =>
    Buffer.concat([
      chunkMagic,
      id,
      Buffer.from([at, count]),
      payload.subarray(at * chunkBytes, (at + 1) * chunkBytes),
    ]),
  );
}
