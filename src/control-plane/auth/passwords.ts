import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { AppError } from '../../errors.ts';

const derive = promisify(argon2);

// Above OWASP's 2025 minimum for Argon2id (19 MiB, 2 passes); about 0.1 s on a small machine.
const MEMORY_KIB = 47_104;
const PASSES = 2;
const HASH_BYTES = 32;
const SALT_BYTES = 16;
/** Each takes 46 MiB while it runs; more would also starve file and name look-ups of threads. */
const MAX_RUNNING = 2;
const MAX_WAITING = 100;
const BUSY_RETRY_S = 5;

let running = 0;
const waiting: (() => void)[] = [];

/** Argon2id with a random salt, in PHC string format; throws rate_limit_exceeded when too many wait. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await inTurn(() => argon2id(password, salt, MEMORY_KIB, PASSES, HASH_BYTES));
  return `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=1$${unpadded(salt)}$${unpadded(hash)}`;
}

/**
 * Whether the password is the one hashed. Without a hash (an unknown user) it takes the same time
 * and answers false.
 */
export async function verifyPassword(password: string, stored: string | undefined): Promise<boolean> {
  const parts = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$([\w+/]+)\$([\w+/]+)$/.exec(stored ?? '');
  if (stored !== undefined && !parts) throw new AppError('internal_error');
  const expected = parts ? Buffer.from(parts[4]!, 'base64') : randomBytes(HASH_BYTES);
  const salt = parts ? Buffer.from(parts[3]!, 'base64') : randomBytes(SALT_BYTES);
  const memory = parts ? Number(parts[1]) : MEMORY_KIB;
  const passes = parts ? Number(parts[2]) : PASSES;
  const actual = await inTurn(() => argon2id(password, salt, memory, passes, expected.length));
  return timingSafeEqual(actual, expected) && parts !== null;
}

function argon2id(password: string, nonce: Buffer, memory: number, passes: number, tagLength: number) {
  const message = password.normalize('NFC');
  return derive('argon2id', { message, nonce, parallelism: 1, tagLength, memory, passes });
}

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= MAX_RUNNING) {
    if (waiting.length >= MAX_WAITING) {
      throw new AppError('rate_limit_exceeded', 'Too many log-ins at once', {
        details: { retryAfter: BUSY_RETRY_S },
      });
    }
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else {
    running++;
  }
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
