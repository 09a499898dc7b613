import { AppError } from '../../errors.ts';
import { BerReader, encode, encodeInteger, encodeOctets, encodeOid, malformed, tags } from './ber.ts';
import type { EngineClock, UsmKeys } from './usm.ts';

export interface Variable {
  oid: string;
  /** Encoded already. */
  value: Buffer;
}

export const pduTags = {
  get: 0xa0,
  response: 0xa2,
  trapV1: 0xa4,
  inform: 0xa6,
  trapV2: 0xa7,
  report: 0xa8,
} as const;

const enterpriseSpecific = 6;
/** Of an enterprise's notification in V1, and its last number in V2c and V3 where it is translated (RFC 3584 3). */
const specificTrap = 1;
const userSecurityModel = 3;
/** Largest answer that is taken. */
const maxMessageBytes = 65_507;

export const oids = {
  sysUpTime: '1.3.6.1.2.1.1.3.0',
  snmpTrapOid: '1.3.6.1.6.3.1.1.4.1.0',
};

function encodeVariables(variables: readonly Variable[]): Buffer {
  return encode(
    tags.sequence,
    ...variables.map(({ oid, value }) => encode(tags.sequence, encodeOid(oid), value)),
  );
}

/** A PDU other than the trap of V1 (RFC 3416 3). */
export function encodePdu(tag: number, requestId: number, variables: readonly Variable[]): Buffer {
  return encode(
    tag,
    encodeInteger(requestId),
    encodeInteger(0),
    encodeInteger(0),
    encodeVariables(variables),
  );
}

/** The trap of V1 (RFC 1157 4.1.6); the sender's address is left to the receiver, as RFC 3584 3.1 has it for proxies. */
export function encodeTrapV1(enterprise: string, upTime: number, variables: readonly Variable[]): Buffer {
  return encode(
    pduTags.trapV1,
    encodeOid(enterprise),
    encode(tags.ipAddress, Buffer.alloc(4)),
    encodeInteger(enterpriseSpecific),
    encodeInteger(specificTrap),
    encodeInteger(upTime, tags.timeTicks),
    encodeVariables(variables),
  );
}

export function encodeCommunityMessage(version: 'V1' | 'V2c', community: string, pdu: Buffer): Buffer {
  return encode(tags.sequence, encodeInteger(version === 'V1' ? 0 : 1), encodeOctets(community), pdu);
}

export interface SecureMessage {
  messageId: number;
  engineId: Buffer;
  clock: EngineClock;
  userName: string;
  /** Of the user at the engine; undefined: neither authenticated nor encrypted. */
  keys: UsmKeys | undefined;
  /** Whether the receiver may report what is wrong with it (RFC 3412 6.4). */
  isReportable: boolean;
  pdu: Buffer;
}

/** A message of V3 under the user-based security model (RFC 3412 6, RFC 3414 2.4). */
export function encodeSecureMessage(message: SecureMessage): Buffer {
  const { messageId, engineId, clock, userName, keys, isReportable, pdu } = message;
  const scoped = encode(tags.sequence, encodeOctets(engineId), encodeOctets(''), pdu);
  const isAuthenticated = keys !== undefined && keys.digestOctets > 0;
  const sealed = keys?.isPrivate ? keys.encrypt(scoped, clock) : undefined;
  const flags = (isAuthenticated ? 1 : 0) | (sealed ? 2 : 0) | (isReportable ? 4 : 0);
  const header = encode(
    tags.sequence,
    encodeInteger(messageId),
    encodeInteger(maxMessageBytes),
    encodeOctets(Uint8Array.of(flags)),
    encodeInteger(userSecurityModel),
  );
  const withDigest = (digest: Buffer) =>
    encode(
      tags.sequence,
      encodeInteger(3),
      header,
      encodeOctets(
        encode(
          tags.sequence,
          encodeOctets(engineId),
          encodeInteger(clock.boots),
          encodeInteger(clock.time),
          encodeOctets(userName),
          encodeOctets(digest),
          encodeOctets(sealed?.salt ?? ''),
        ),
      ),
      sealed ? encodeOctets(sealed.encrypted) : scoped,
    );
  if (!isAuthenticated) return withDigest(Buffer.alloc(0));
  return withDigest(keys.digest(withDigest(Buffer.alloc(keys.digestOctets))));
}

export interface Answer {
  pduTag: number;
  requestId: number;
  errorStatus: number;
  /** OIDs of its variables. */
  variables: string[];
}

export interface SecureAnswer extends Answer {
  messageId: number;
  engineId: Buffer;
  clock: EngineClock;
  isAuthenticated: boolean;
}

/** An answer of V2c; fails with `protocol_error`. */
export function decodeCommunityAnswer(bytes: Buffer): Answer {
  const reader = new BerReader(bytes).inner();
  if (reader.integer() !== 1) throw malformed();
  reader.octets();
  return decodePdu(reader);
}

/**
 * An answer of V3. What claims to be authenticated is checked with the keys; fails with `protocol_error`,
 * and with `authentication_failed` on a wrong digest.
 */
export function decodeSecureAnswer(bytes: Buffer, keys: UsmKeys | undefined): SecureAnswer {
  // The digest is cleared in place to check it.
  const whole = Buffer.from(bytes);
  const reader = new BerReader(whole).inner();
  if (reader.integer() !== 3) throw malformed();
  const header = reader.inner();
  const messageId = header.integer();
  header.integer();
  const flags = header.octets()[0] ?? 0;
  if (header.integer() !== userSecurityModel) throw malformed();
  const security = new BerReader(reader.octets()).inner();
  const engineId = Buffer.from(security.octets());
  const clock = { boots: security.integer(), time: security.integer() };
  security.octets();
  const digestField = security.octets();
  const salt = Buffer.from(security.octets());
  const isAuthenticated = (flags & 1) !== 0;
  if (isAuthenticated) {
    const digest = Buffer.from(digestField);
    digestField.fill(0);
    if (!keys || keys.digestOctets === 0 || !keys.verifies(whole, digest))
      throw new AppError(
        'authentication_failed',
        'The answer of the receiver is not signed with the same passphrase',
      );
  }
  let scoped: BerReader;
  if (flags & 2) {
    if (!keys?.isPrivate || !isAuthenticated) throw malformed();
    scoped = new BerReader(keys.decrypt(reader.octets(), salt, clock)).inner();
  } else {
    scoped = reader.inner();
  }
  scoped.octets();
  scoped.octets();
  return { ...decodePdu(scoped), messageId, engineId, clock, isAuthenticated };
}

function decodePdu(reader: BerReader): Answer {
  const { tag: pduTag, contents } = reader.next();
  if (pduTag !== pduTags.response && pduTag !== pduTags.report) throw malformed();
  const pdu = new BerReader(contents);
  const requestId = pdu.integer();
  const errorStatus = pdu.integer();
  pdu.integer();
  const list = pdu.inner();
  const variables: string[] = [];
  while (!list.isAtEnd) variables.push(list.inner().oid());
  return { pduTag, requestId, errorStatus, variables };
}
