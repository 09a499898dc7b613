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
  const fields = item.fields && additionalFields(item.fields);
  let full = fullMessage;
  if (config.appendToMessage && fields) {
    const appended = Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [name.slice(1), value]),
    );
    full = `${fullMessage ?? message}\n${JSON.stringify(appended)}`;
  }
  const more = config.appendToAttributes && fields ? `,${JSON.stringify(fields).slice(1, -1)}` : '';
  const level = gelfLevels.indexOf(item.level ?? config.gelfMessageLevel);
  // Part by part: an object made only to be written as JSON costs twice as much.
  return `${headOf(item.host ?? ownHost)}${JSON.stringify(message)}${full === undefined ? '' : `,"full_message":${JSON.stringify(full)}`},"timestamp":${(item.timestampMs ?? Date.now()) / 1000},"level":${level}${more}}`;
}

let lastHead = { host: '', head: '' };

/** What the messages of one host have in common. */
function headOf(host: string): string {
  if (lastHead.host !== host || lastHead.head === '')
    lastHead = { host, head: `{"version":"1.1","host":${JSON.stringify(host)},"short_message":` };
  return lastHead.head;
}

/** undefined where there is none. */
function additionalFields(
  given: NonNullable<GelfItem['fields']>,
): Record<string, string | number> | undefined {
  const fields = Object.entries(given).flatMap(([name, value]) => {
    const field = name.startsWith('_') ? name : `_${name}`;
    if (field === '_id') throw new AppError('bad_request', 'The field _id is reserved by Graylog');
    if (!/^_[\w.-]+$/.test(field)) throw new AppError('bad_request', `'${name}' is no name of a GELF field`);
    return value === null ? [] : [[field, typeof value === 'boolean' ? String(value) : value] as const];
  });
  return fields.length > 0 ? Object.fromEntries(fields) : undefined;
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
