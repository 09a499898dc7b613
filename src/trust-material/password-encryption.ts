import { createDecipheriv, hash, pbkdf2, scrypt } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { AppError } from '../errors.ts';
import {
  childrenOf,
  type DerValue,
  damaged,
  integerOf,
  octetsOf,
  oidOf,
  readDer,
  sequenceOf,
  TAG,
} from './der.ts';
import { decryptRc2Cbc } from './rc2.ts';

const derivePbkdf2 = promisify(pbkdf2);
const deriveScrypt = promisify(scrypt) as (
  password: Buffer,
  salt: Buffer,
  length: number,
  options: { N: number; r: number; p: number; maxmem: number },
) => Promise<Buffer>;

/** How many rounds of hashing one file may ask for, so that opening it is bounded. */
const maxRounds = 5_000_000;
const maxSaltBytes = 1_024;
const maxScryptBytes = 64 * 1024 * 1024;

/** What of the work that one file may ask for is left. */
export class WorkBudget {
  #left = maxRounds;

  /** Fails with `bad_request` before the work is begun that would go beyond the bound. */
  spend(rounds: number): void {
    this.#left -= rounds;
    if (this.#left < 0)
      throw new AppError(
        'bad_request',
        `The file asks for more than ${maxRounds.toLocaleString('en')} rounds of password hashing; make it anew with a smaller iteration count`,
      );
  }
}

/** A password in the two spellings that PKCS12 and PKCS5 know. */
export interface PasswordBytes {
  /** UTF-16BE with a terminating zero, as the key derivation of PKCS12 takes it. */
  readonly bmp: Buffer;
  readonly utf8: Buffer;
}

export function bmpPassword(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf16le').swap16();
}

export function wrongPassword(): AppError {
  return new AppError('bad_request', 'The password is wrong, or the file was changed');
}

/** Reads what was decrypted: without a MAC a wrong password may show only in what comes out. */
export function readDecrypted(plain: Buffer): DerValue {
  try {
    const value = readDer(plain);
    childrenOf(value);
    return value;
  } catch {
    throw wrongPassword();
  }
}

const pkcs12Schemes: Readonly<
  Record<string, { cipher: 'des-ede3-cbc' | 'des-ede-cbc' | 'rc2'; keyBytes: number }>
> = {
  '1.2.840.113549.1.12.1.3': { cipher: 'des-ede3-cbc', keyBytes: 24 },
  '1.2.840.113549.1.12.1.4': { cipher: 'des-ede-cbc', keyBytes: 16 },
  '1.2.840.113549.1.12.1.5': { cipher: 'rc2', keyBytes: 16 },
  '1.2.840.113549.1.12.1.6': { cipher: 'rc2', keyBytes: 5 },
};

const pbes2Ciphers: Readonly<Record<string, { cipher: string; keyBytes: number }>> = {
  '2.16.840.1.101.3.4.1.2': { cipher: 'aes-128-cbc', keyBytes: 16 },
  '2.16.840.1.101.3.4.1.22': { cipher: 'aes-192-cbc', keyBytes: 24 },
  '2.16.840.1.101.3.4.1.42': { cipher: 'aes-256-cbc', keyBytes: 32 },
  '1.2.840.113549.3.7': { cipher: 'des-ede3-cbc', keyBytes: 24 },
};

const pseudoRandom: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.7': 'sha1',
  '1.2.840.113549.2.8': 'sha224',
  '1.2.840.113549.2.9': 'sha256',
  '1.2.840.113549.2.10': 'sha384',
  '1.2.840.113549.2.11': 'sha512',
  '1.2.840.113549.2.12': 'sha512-224',
  '1.2.840.113549.2.13': 'sha512-256',
};

/** Bytes that a digest makes, and bytes of its blocks. */
export const digestBytes: Readonly<Record<string, readonly [output: number, block: number]>> = {
  sha1: [20, 64],
  sha224: [28, 64],
  sha256: [32, 64],
  sha384: [48, 128],
  sha512: [64, 128],
  'sha512-224': [28, 128],
  'sha512-256': [32, 128],
};

/**
 * Decrypts what was encrypted under a password by PBES2 (RFC 8018) or the schemes of PKCS12
 * (RFC 7292 appendix C). Fails with `bad_request`: wrong password, unknown algorithm, too much work.
 */
export async function decryptByPassword(
  algorithm: DerValue | undefined,
  data: Buffer,
  password: PasswordBytes,
  budget: WorkBudget,
): Promise<Buffer> {
  const [oid, parameters] = sequenceOf(algorithm);
  const scheme = oidOf(oid);
  if (scheme === '1.2.840.113549.1.5.13') return decryptPbes2(parameters, data, password, budget);
  const known = Object.hasOwn(pkcs12Schemes, scheme) ? pkcs12Schemes[scheme] : undefined;
  if (!known) throw unknownAlgorithm(scheme);
  const [salt, iterations] = sequenceOf(parameters);
  const derive = (purpose: number, length: number) =>
    derivePkcs12('sha1', purpose, password.bmp, octetsOf(salt), integerOf(iterations), length, budget);
  const key = await derive(1, known.keyBytes);
  const iv = await derive(2, 8);
  if (known.cipher !== 'rc2') return decipher(known.cipher, key, iv, data);
  if (data.length === 0 || data.length % 8 !== 0) throw damaged();
  return unpad(decryptRc2Cbc(data, key, key.length * 8, iv));
}

async function decryptPbes2(
  parameters: DerValue | undefined,
  data: Buffer,
  password: PasswordBytes,
  budget: WorkBudget,
): Promise<Buffer> {
  const [derivation, encryption] = sequenceOf(parameters);
  const [cipherOid, iv] = sequenceOf(encryption);
  const name = oidOf(cipherOid);
  const known = Object.hasOwn(pbes2Ciphers, name) ? pbes2Ciphers[name] : undefined;
  if (!known) throw unknownAlgorithm(name);
  const key = await deriveKey(derivation, password.utf8, known.keyBytes, budget);
  return decipher(known.cipher, key, octetsOf(iv), data);
}

/** A key by PBKDF2 or scrypt as an AlgorithmIdentifier says, off the event loop. */
export async function deriveKey(
  derivation: DerValue | undefined,
  password: Buffer,
  keyBytes: number,
  budget: WorkBudget,
): Promise<Buffer> {
  const [oid, parameters] = sequenceOf(derivation);
  const name = oidOf(oid);
  const [salt, ...rest] = sequenceOf(parameters);
  const saltBytes = boundedSalt(octetsOf(salt));
  if (name === '1.2.840.113549.1.5.12') {
    const iterations = integerOf(rest[0]);
    const prf = rest.slice(1).find(({ tag }) => tag === TAG.sequence);
    const prfOid = prf ? oidOf(sequenceOf(prf)[0]) : '1.2.840.113549.2.7';
    const digest = Object.hasOwn(pseudoRandom, prfOid) ? pseudoRandom[prfOid] : undefined;
    if (!digest) throw unknownAlgorithm(prfOid);
    if (iterations < 1) throw damaged();
    budget.spend(iterations * Math.ceil(keyBytes / digestBytes[digest]![0]));
    return derivePbkdf2(password, saltBytes, iterations, keyBytes, digest);
  }
  if (name === '1.3.6.1.4.1.11591.4.11') {
    const [N, r, p] = [integerOf(rest[0]), integerOf(rest[1]), integerOf(rest[2])];
    const bytes = 128 * N * r;
    if (N < 2 || (N & (N - 1)) !== 0 || r < 1 || p < 1) throw damaged();
    if (bytes > maxScryptBytes || p > 16)
      throw new AppError('bad_request', 'The file asks for more than 64 MiB of memory to derive its key');
    budget.spend(N * p * r);
    return deriveScrypt(password, saltBytes, keyBytes, { N, r, p, maxmem: 2 * maxScryptBytes });
  }
  throw unknownAlgorithm(name);
}

/**
 * The key derivation of PKCS12 (RFC 7292 appendix B): `purpose` 1 makes a key, 2 an initialisation
 * vector, 3 the key of a MAC. Gives way to other work of the process as it goes.
 */
export async function derivePkcs12(
  digest: string,
  purpose: number,
  password: Buffer,
  salt: Buffer,
  iterations: number,
  length: number,
  budget: WorkBudget,
): Promise<Buffer> {
  const [outputBytes, blockBytes] = digestBytes[digest]!;
  const rounds = Math.ceil(length / outputBytes);
  if (iterations < 1) throw damaged();
  // A round here costs about twice one of PBKDF2, which does not come back to JavaScript.
  budget.spend(iterations * rounds * 2);
  const diversifier = Buffer.alloc(blockBytes, purpose);
  const input = Buffer.concat([repeated(boundedSalt(salt), blockBytes), repeated(password, blockBytes)]);
  const derived: Buffer[] = [];
  for (let round = 0; round < rounds; round += 1) {
    let block = hash(digest, Buffer.concat([diversifier, input]), 'buffer');
    for (let i = 1; i < iterations; i += 1) {
      block = hash(digest, block, 'buffer');
      if (i % roundsPerTurn === 0) await nextTurn();
    }
    derived.push(block);
    addToBlocks(input, blockBytes, block);
  }
  return Buffer.concat(derived).subarray(0, length);
}

const roundsPerTurn = 2_000;

/** I_j = (I_j + B + 1) mod 2^v, in every block of `input`. */
function addToBlocks(input: Buffer, blockBytes: number, block: Buffer): void {
  for (let start = 0; start < input.length; start += blockBytes) {
    let carry = 1;
    for (let i = blockBytes - 1; i >= 0; i -= 1) {
      carry += input[start + i]! + block[i % block.length]!;
      input[start + i] = carry & 255;
      carry >>= 8;
    }
  }
}

function repeated(bytes: Buffer, blockBytes: number): Buffer {
  return bytes.length === 0 ? bytes : Buffer.alloc(Math.ceil(bytes.length / blockBytes) * blockBytes, bytes);
}

function boundedSalt(salt: Buffer): Buffer {
  if (salt.length > maxSaltBytes) throw damaged();
  return salt;
}

function decipher(cipher: string, key: Buffer, iv: Buffer, data: Buffer): Buffer {
  if (iv.length !== (cipher.startsWith('aes') ? 16 : 8)) throw damaged();
  try {
    const machine = createDecipheriv(cipher, key, iv);
    return Buffer.concat([machine.update(data), machine.final()]);
  } catch {
    throw wrongPassword();
  }
}

function unpad(plain: Buffer): Buffer {
  const padding = plain.at(-1)!;
  if (padding < 1 || padding > 8 || plain.subarray(-padding).some((byte) => byte !== padding))
    throw wrongPassword();
  return plain.subarray(0, -padding);
}

function unknownAlgorithm(oid: string): AppError {
  return new AppError('bad_request', `The file is encrypted by an algorithm that is not supported (${oid})`);
}
