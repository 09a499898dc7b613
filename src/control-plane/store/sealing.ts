import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { AppError } from '../../errors.ts';
import type { Database, Transaction } from './database.ts';
import type { MasterKey } from './master-key.ts';

/** Where a sealed value belongs; it opens nowhere else. */
export interface Place {
  /** Id of the project. */
  project: string;
  /** Id of the connection. */
  connection: string;
  /** JSON pointer of the field. */
  field: string;
}

export interface Sealer {
  /** Ids of the keys that were given; the first is the newest, which seals. */
  readonly keyIds: readonly [string, ...string[]];
  /** Answers text that names its key: `v1.<key id>.<iv>.<ciphertext and tag>`. */
  seal(plain: string, place: Place): string;
  /**
   * Throws `unavailable` naming the key's id when that key was not given, and `internal_error` when
   * the text was changed or belongs to another place.
   */
  open(sealed: string, place: Place): string;
  /** `open` in two steps, for what is opened time and again: the first takes the text apart, the second opens it. */
  opener(sealed: string, place: Place): () => string;
}

const algorithm = 'aes-256-gcm';
const version = 'v1.';
const ivBytes = 12;
const ivCharacters = 16;
const tagBytes = 16;
const tagged = { authTagLength: tagBytes };
const keyIdBytes = 6;

/** AES-256-GCM by keys derived from the master keys: the first seals, every one of them opens. */
export function createSealer(masterKeys: readonly MasterKey[]): Sealer {
  const keys = new Map(masterKeys.map((master) => [keyId(master), encryptionKey(master)]));
  const [newest] = keys;
  if (!newest) throw new Error('No master key was given');
  const [newestId, newestKey] = newest;
  const takeApart = (text: string, place: Place): TakenApart => {
    const idEnd = text.indexOf('.', version.length);
    const ivEnd = text.indexOf('.', idEnd + 1);
    if (!text.startsWith(version) || idEnd <= version.length || ivEnd < 0) throw damaged();
    if (ivEnd - idEnd - 1 !== ivCharacters || ivEnd + 1 === text.length) throw damaged();
    const id = text.slice(version.length, idEnd);
    const key = keys.get(id);
    if (!key) throw new AppError('unavailable', `A secret is sealed with the key ${id}, which was not given`);
    // The vector fills its characters to the last bit, so both decode as one.
    const bytes = decoded(text.slice(idEnd + 1, ivEnd) + text.slice(ivEnd + 1));
    if (bytes.length < ivBytes + tagBytes) throw damaged();
    return { key, bytes, associated: associatedData(place) };
  };
  return {
    keyIds: [newestId, ...[...keys.keys()].slice(1)],
    seal(plain, place) {
      // UTF-8 cannot hold half of a surrogate pair: the secret would come back as another one.
      if (!plain.isWellFormed()) throw new AppError('bad_request', 'A secret is not valid Unicode text');
      const iv = nextIv();
      const cipher = createCipheriv(algorithm, newestKey, iv, tagged);
      cipher.setAAD(associatedData(place));
      const sealed = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()]);
      return `${version}${newestId}.${iv.toString('base64url')}.${sealed.toString('base64url')}`;
    },
    open: (text, place) => openTakenApart(takeApart(text, place)),
    opener(text, place) {
      const { key, bytes, associated } = takeApart(text, place);
      const kept = { key, bytes: unpooled(bytes), associated: unpooled(associated) };
      return () => openTakenApart(kept);
    },
  };
}

/** The id of the key that a text is sealed with. */
export function keyIdOf(sealed: string): string {
  return sealed.split('.', 2)[1] ?? '';
}

const sealingKeys = 'sealing-keys';

/** Ids of the keys that may have sealed something; undefined before they were first noted. */
export async function readSealingKeys(database: Pick<Database, 'get'>): Promise<string[] | undefined> {
  const row = await database.get<{ value: string }>('select value from meta where key = $1', [sealingKeys]);
  return row && (JSON.parse(row.value) as string[]);
}

/** Notes which keys may have sealed something. */
export async function writeSealingKeys(tx: Transaction, ids: readonly string[]): Promise<void> {
  await tx.run('insert into meta (key, value) values ($1, $2) on conflict (key) do update set value = $2', [
    sealingKeys,
    JSON.stringify([...new Set(ids)].sort()),
  ]);
}

/**
 * Proves that every key which still seals something was given, and notes the newest before it seals.
 * `used` looks for the keys in use where they were never noted. Throws an Error that says what to do.
 */
export async function verifyKeys(
  database: Database,
  sealer: Sealer,
  used: () => Promise<readonly string[]>,
): Promise<void> {
  const noted = (await readSealingKeys(database)) ?? (await used());
  const missing = noted.filter((id) => !sealer.keyIds.includes(id));
  if (missing.length > 0 && missing.length < noted.length)
    throw new Error(
      `Values of this database are still sealed with the master ${missing.length === 1 ? 'key' : 'keys'} ${missing.join(', ')}, which ` +
        'PLUGBOARD_MASTER_KEY or PLUGBOARD_MASTER_KEY_FILE does not give any more. Give it again behind the newest, ' +
        'run `plugboard keys rotate`, and leave it out once that has ended',
    );
  await verifyCanary(database, sealer);
  const [newest] = sealer.keyIds;
  if (!noted.includes(newest)) await database.write((tx) => writeSealingKeys(tx, [...noted, newest]));
}

/** Seals the canary with the newest key, where it is another's. */
export async function resealCanary(tx: Transaction, sealer: Sealer): Promise<void> {
  const row = await tx.get<{ value: string }>("select value from meta where key = 'canary'");
  if (!row || keyIdOf(row.value) === sealer.keyIds[0]) return;
  const plain = sealer.open(row.value, canaryPlace);
  await tx.run("update meta set value = $1 where key = 'canary'", [sealer.seal(plain, canaryPlace)]);
}

const canaryPlace: Place = { project: '', connection: '', field: 'canary' };
const canary = 'The canary of this database';

/**
 * Proves that the master key is the one this database was sealed with; at the first start it seals
 * the canary by which later starts know. Throws an Error that says what to do.
 */
export async function verifyCanary(database: Database, sealer: Sealer): Promise<void> {
  const read = () => database.get<{ value: string }>("select value from meta where key = 'canary'");
  if (!(await read())) {
    // Of replicas that start at once with different keys only the first one's canary stays.
    const insert = "insert into meta (key, value) values ('canary', $1) on conflict (key) do nothing";
    await database.write((tx) => tx.run(insert, [sealer.seal(canary, canaryPlace)]));
  }
  const stored = await read();
  try {
    if (stored && sealer.open(stored.value, canaryPlace) === canary) return;
  } catch (error) {
    throw new Error(wrongKey, { cause: error });
  }
  throw new Error(wrongKey);
}

const wrongKey =
  'The master key is not the one this database was sealed with. Give the right key in PLUGBOARD_MASTER_KEY ' +
  'or PLUGBOARD_MASTER_KEY_FILE, or put the right master.key back into the secrets directory';

function keyId(master: MasterKey): string {
  return derived(master, 'plugboard key id', keyIdBytes).toString('base64url');
}

function encryptionKey(master: MasterKey): KeyObject {
  return createSecretKey(derived(master, 'plugboard secrets aes-256-gcm', 32));
}

function derived(master: MasterKey, purpose: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', master, '', purpose, bytes));
}

let ivs = Buffer.alloc(0);
let ivsUsed = 0;

/** Random bytes are drawn for many, as a draw costs as much as the sealing; none is given twice. */
function nextIv(): Buffer {
  if (ivsUsed === ivs.length) {
    ivs = randomBytes(ivBytes * 256);
    ivsUsed = 0;
  }
  ivsUsed += ivBytes;
  return ivs.subarray(ivsUsed - ivBytes, ivsUsed);
}

interface TakenApart {
  key: KeyObject;
  /** Vector, ciphertext and tag. */
  bytes: Buffer;
  associated: Buffer;
}

function openTakenApart({ key, bytes, associated }: TakenApart): string {
  const end = bytes.length - tagBytes;
  const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, ivBytes), tagged);
  decipher.setAAD(associated);
  decipher.setAuthTag(bytes.subarray(end));
  try {
    // GCM gives all of the text at once; the end only proves it.
    const plain = decipher.update(bytes.subarray(ivBytes, end));
    decipher.final();
    return plain.toString();
  } catch (error) {
    throw damaged(error);
  }
}

/** What is kept must not hold the whole of Node's pool of buffers, of which small ones are slices. */
function unpooled(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}

/** JSON, so that no two places share an encoding. */
function associatedData({ project, connection, field }: Place): Buffer {
  return Buffer.from(JSON.stringify([project, connection, field]));
}

/** Node skips what is no base64url and ignores unused bits: several texts would mean the same. */
function decoded(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) throw damaged();
  return bytes;
}

function damaged(cause?: unknown): AppError {
  return new AppError('internal_error', 'A sealed secret was changed or belongs to another place', { cause });
}
