import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { promisify } from 'node:util';
import { deflate, gzip } from 'node:zlib';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import type { Encoder } from '../log-delivery/outbox.ts';
import { byteMeanings, PlainRows } from '../log-delivery/plain-rows.ts';
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

/** Makes what turns messages into frames of GELF TCP or into datagrams, as configured. */
export function messageEncoder(config: GraylogConfig): Encoder<GelfItem> {
  if (config.transportType === 'UDP') return { frame: (item) => datagrams(config, item) };
  return {
    // Never compressed, ended by a zero byte, which JSON cannot hold.
    frame: (item) => `${gelfPayload(config, item)}\0`,
    rows: new PlainRows({
      format: (item, nowMs) => `${gelfPayload(config, item, nowMs, escapedOfTwo)}\0`,
      meanings: byteMeanings({ ends: 0, controls: [del], isUnicode: true }),
      isEnded: true,
      mustBeWellFormed: true,
    }),
  };
}

const del = 0x7f;

/** The inside of a text in JSON. */
function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** The same where nothing else than the two has to be escaped. */
function escapedOfTwo(text: string): string {
  return text.includes('"') || text.includes('\\') ? escaped(text) : text;
}

/** The message as GELF 1.1; fails with `bad_request` on a field that Graylog reserves. */
function gelfPayload(config: GraylogConfig, item: GelfItem, nowMs = Date.now(), inside = escaped): string {
  const { message, fullMessage, host = ownHost, level = config.gelfMessageLevel } = item;
  const ms = item.timestampMs ?? nowMs;
  // Part by part: an object made only to be written as JSON costs twice as much.
  const start = headOf(host) + inside(message);
  if (fullMessage === undefined && item.fields === undefined) return start + tailOf(ms, level).alone;
  const fields = item.fields && additionalFields(item.fields);
  let full = fullMessage;
  if (config.appendToMessage && fields) {
    const appended = Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [name.slice(1), value]),
    );
    full = `${fullMessage ?? message}\n${JSON.stringify(appended)}`;
  }
  const more = config.appendToAttributes && fields ? `,${JSON.stringify(fields).slice(1, -1)}` : '';
  const fuller = full === undefined ? '' : `,"full_message":${JSON.stringify(full)}`;
  return `${start}"${fuller}${tailOf(ms, level).text}${more}}`;
}

let lastHead: { host: string; text: string } | undefined;

/** All before the message, which those of one host have in common. */
function headOf(host: string): string {
  if (lastHead?.host !== host)
    lastHead = {
      host,
      // Joined it lies in one piece, where a sum would be put together anew for each message.
      text: ['{"version":"1.1","host":', JSON.stringify(host), ',"short_message":"'].join(''),
    };
  return lastHead.text;
}

type Level = (typeof gelfLevels)[number];

let lastTail: { timestampMs: number; level: Level; text: string; alone: string } | undefined;

/** What those of one instant and level have in common; `alone` is all behind a message without more. */
function tailOf(timestampMs: number, level: Level): { text: string; alone: string } {
  if (lastTail?.timestampMs !== timestampMs || lastTail.level !== level) {
    const text = `,"timestamp":${timestampMs / 1000},"level":${gelfLevels.indexOf(level)}`;
    lastTail = { timestampMs, level, text, alone: ['"', text, '}'].join('') };
  }
  return lastTail;
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

/**
 * The datagrams of one message, compressed as configured; over 8192 bytes it is cut into chunks. Fails
 * with `message_too_large` when 128 of them do not hold it.
 */
async function datagrams(config: GraylogConfig, item: GelfItem): Promise<Buffer[]> {
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
