import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type { ConfigOf } from '../../contract/connection-type.ts';
import type { snmp } from './snmp.definition.ts';

type SnmpConfig = ConfigOf<typeof snmp>;
export type AuthenticationProtocol = NonNullable<SnmpConfig['usmUserAuthenticationProtocol']>;
export type PrivacyProtocol = NonNullable<SnmpConfig['usmUserPrivacyProtocol']>;

/** Hash, and octets of the digest that a message carries (RFC 3414 6 and 7, RFC 7860 4). */
const authentications: Record<AuthenticationProtocol, { hash: string; digestOctets: number }> = {
  AuthMD5: { hash: 'md5', digestOctets: 12 },
  AuthSHA: { hash: 'sha1', digestOctets: 12 },
  AuthHMAC128SHA224: { hash: 'sha224', digestOctets: 16 },
  AuthHMAC192SHA256: { hash: 'sha256', digestOctets: 24 },
  AuthHMAC256SHA384: { hash: 'sha384', digestOctets: 32 },
  AuthHMAC384SHA512: { hash: 'sha512', digestOctets: 48 },
};

type Extension = 'blumenthal' | 'reeder';

/** `keyOctets` includes the eight of the pre-IV where the cipher is a block chain. */
const privacies: Record<
  PrivacyProtocol,
  { cipher: string; keyOctets: number; chained: boolean; extension: Extension }
> = {
  // OpenSSL 3 has no single DES; with one key three times, 3DES is single DES.
  PrivDES: { cipher: 'des-ede3-cbc', keyOctets: 16, chained: true, extension: 'blumenthal' },
  Priv3DES: { cipher: 'des-ede3-cbc', keyOctets: 32, chained: true, extension: 'reeder' },
  PrivAES128: { cipher: 'aes-128-cfb', keyOctets: 16, chained: false, extension: 'blumenthal' },
  PrivAES192: { cipher: 'aes-192-cfb', keyOctets: 24, chained: false, extension: 'blumenthal' },
  PrivAES256: { cipher: 'aes-256-cfb', keyOctets: 32, chained: false, extension: 'blumenthal' },
  PrivAES192with3DES: { cipher: 'aes-192-cfb', keyOctets: 24, chained: false, extension: 'reeder' },
  PrivAES256with3DES: { cipher: 'aes-256-cfb', keyOctets: 32, chained: false, extension: 'reeder' },
};

export interface UsmUser {
  name: string;
  authentication?: { protocol: AuthenticationProtocol; passphrase: string };
  /** Only beside `authentication`. */
  privacy?: { protocol: PrivacyProtocol; passphrase: string };
}

export interface EngineClock {
  boots: number;
  time: number;
}

/** What a user's messages to or from one engine are signed and encrypted with. */
export interface UsmKeys {
  /** Octets of the digest in a message; 0: not authenticated. */
  readonly digestOctets: number;
  readonly isPrivate: boolean;
  digest(message: Buffer): Buffer;
  verifies(message: Buffer, digest: Buffer): boolean;
  encrypt(scoped: Buffer, clock: EngineClock): { encrypted: Buffer; salt: Buffer };
  decrypt(encrypted: Buffer, salt: Buffer, clock: EngineClock): Buffer;
}

/** Localises the user's keys to an engine, which takes milliseconds (RFC 3414 2.6 and A.2). */
export function localiseKeys({ authentication, privacy }: UsmUser, engineId: Buffer): UsmKeys {
  const unused = () => {
    throw new Error('The user has no such key');
  };
  if (!authentication)
    return {
      digestOctets: 0,
      isPrivate: false,
      digest: unused,
      verifies: unused,
      encrypt: unused,
      decrypt: unused,
    };
  const { hash, digestOctets } = authentications[authentication.protocol];
  const authenticationKey = passwordToKey(hash, authentication.passphrase, engineId);
  const digest = (message: Buffer) =>
    createHmac(hash, authenticationKey).update(message).digest().subarray(0, digestOctets);
  const ciphers = privacy ? privacyCiphers(hash, privacy, engineId) : { encrypt: unused, decrypt: unused };
  return {
    digestOctets,
    isPrivate: privacy !== undefined,
    digest,
    verifies: (message, given) => given.length === digestOctets && timingSafeEqual(digest(message), given),
    ...ciphers,
  };
}

function privacyCiphers(
  hash: string,
  { protocol, passphrase }: NonNullable<UsmUser['privacy']>,
  engineId: Buffer,
): Pick<UsmKeys, 'encrypt' | 'decrypt'> {
  const { cipher, keyOctets, chained, extension } = privacies[protocol];
  const key = privacyKey(hash, passphrase, engineId, keyOctets, extension);
  if (!chained) {
    // RFC 3826 3.1.2.1: the vector is the engine's boots and time before the salt.
    const vector = (clock: EngineClock, salt: Buffer) => {
      const start = Buffer.alloc(8);
      start.writeUInt32BE(clock.boots, 0);
      start.writeUInt32BE(clock.time, 4);
      return Buffer.concat([start, salt]);
    };
    return {
      encrypt(scoped, clock) {
        const salt = randomBytes(8);
        const stream = createCipheriv(cipher, key, vector(clock, salt));
        return { encrypted: Buffer.concat([stream.update(scoped), stream.final()]), salt };
      },
      decrypt(encrypted, salt, clock) {
        const stream = createDecipheriv(cipher, key, vector(clock, salt));
        return Buffer.concat([stream.update(encrypted), stream.final()]);
      },
    };
  }
  // RFC 3414 8.1.1.1: the vector is the salt over what follows the key.
  const preVector = key.subarray(-8);
  const cipherKey =
    protocol === 'PrivDES'
      ? Buffer.concat([key.subarray(0, 8), key.subarray(0, 8), key.subarray(0, 8)])
      : key.subarray(0, 24);
  const vector = (salt: Buffer) => Buffer.from(preVector.map((octet, at) => octet ^ salt[at]!));
  return {
    encrypt(scoped, clock) {
      const salt = randomBytes(8);
      salt.writeUInt32BE(clock.boots, 0);
      const stream = createCipheriv(cipher, cipherKey, vector(salt)).setAutoPadding(false);
      const padding = Buffer.alloc((8 - (scoped.length % 8)) % 8);
      return {
        encrypted: Buffer.concat([stream.update(scoped), stream.update(padding), stream.final()]),
        salt,
      };
    },
    decrypt(encrypted, salt) {
      const stream = createDecipheriv(cipher, cipherKey, vector(salt)).setAutoPadding(false);
      return Buffer.concat([stream.update(encrypted), stream.final()]);
    },
  };
}

const expandedOctets = 1024 * 1024;

/** The key of a passphrase, localised to the engine (RFC 3414 A.2). */
function passwordToKey(hash: string, passphrase: string | Buffer, engineId: Buffer): Buffer {
  const key = createHash(hash).update(Buffer.alloc(expandedOctets, passphrase)).digest();
  return createHash(hash).update(key).update(engineId).update(key).digest();
}

/**
 * A localised key of the length that the cipher needs. A hash that is too short is extended by hashing
 * what there is (draft-blumenthal-aes-usm-04 3.1.2.1), or by taking it for the passphrase of the next
 * part (draft-reeder-snmpv3-usm-3desede-00 2.1).
 */
export function privacyKey(
  hash: string,
  passphrase: string,
  engineId: Buffer,
  octets: number,
  extension: Extension,
): Buffer {
  let part = passwordToKey(hash, passphrase, engineId);
  let key = part;
  while (key.length < octets) {
    part =
      extension === 'reeder' ? passwordToKey(hash, part, engineId) : createHash(hash).update(key).digest();
    key = Buffer.concat([key, part]);
  }
  return key.subarray(0, octets);
}
