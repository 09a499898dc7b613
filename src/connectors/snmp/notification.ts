import { isIPv4 } from 'node:net';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { encode, encodeInteger, encodeOctets, encodeOid, tags } from './ber.ts';
import type { snmp } from './snmp.definition.ts';
import { encodePdu, encodeTrapV1, oids, pduTags, type Variable } from './snmp-message.ts';

export type SnmpConfig = ConfigOf<typeof snmp>;
export type NotifyInput = InputOf<(typeof snmp)['operations']['notify']>;
type InputVariable = NonNullable<NotifyInput['variables']>[number];

/**
 * The PDU of one notification, identified by the OID of its message: the trap OID in V2c and V3, the
 * enterprise in V1. Fails with `bad_request`, naming a variable that its type cannot hold, or a time
 * that has no OID.
 */
export function notificationPdu(config: SnmpConfig, input: NotifyInput, requestId: number): Buffer {
  const { version, messageType, pduOidForMessage, pduOidForTime, pduVariableMap } = config;
  if (input.time !== undefined && pduOidForTime == null)
    throw new AppError('bad_request', 'time needs pduOidForTime, the OID that carries it', {
      details: { validationErrors: [{ field: 'time', message: 'needs pduOidForTime in the connection' }] },
    });
  const variables: Variable[] = [{ oid: pduOidForMessage, value: encodeOctets(input.message) }];
  if (pduOidForTime != null)
    variables.push({ oid: pduOidForTime, value: encodeOctets(input.time ?? new Date().toISOString()) });
  for (const [oid, value] of Object.entries(pduVariableMap))
    variables.push({ oid, value: encodeOctets(value) });
  for (const [at, variable] of (input.variables ?? []).entries())
    variables.push({ oid: variable.oid, value: encodeValue(variable, version, `variables[${at}].value`) });

  // Hundredths of a second since the worker was started; it wraps (RFC 3418 2).
  const upTime = Math.floor(process.uptime() * 100) % 2 ** 32;
  if (version === 'V1') return encodeTrapV1(pduOidForMessage, upTime, variables);
  return encodePdu(messageType === 'INFORM' ? pduTags.inform : pduTags.trapV2, requestId, [
    { oid: oids.sysUpTime, value: encodeInteger(upTime, tags.timeTicks) },
    { oid: oids.snmpTrapOid, value: encodeOid(pduOidForMessage) },
    ...variables,
  ]);
}

const integers = {
  Integer: { tag: tags.integer, least: -(2n ** 31n), most: 2n ** 31n - 1n },
  Counter32: { tag: tags.counter32, least: 0n, most: 2n ** 32n - 1n },
  Gauge32: { tag: tags.gauge32, least: 0n, most: 2n ** 32n - 1n },
  TimeTicks: { tag: tags.timeTicks, least: 0n, most: 2n ** 32n - 1n },
  Counter64: { tag: tags.counter64, least: 0n, most: 2n ** 64n - 1n },
} as const;

function encodeValue({ type = 'OctetString', value }: InputVariable, version: string, field: string): Buffer {
  const refuse = (message: string) =>
    new AppError('bad_request', `${field} ${message}`, {
      details: { validationErrors: [{ field, message }] },
    });
  const text = String(value);
  switch (type) {
    case 'OctetString':
      return encodeOctets(text);
    case 'OID':
      if (!isOid(text)) throw refuse('must be an OID');
      return encodeOid(text);
    case 'IpAddress':
      if (!isIPv4(text)) throw refuse('must be an IPv4 address');
      return encode(tags.ipAddress, Uint8Array.from(text.split('.').map(Number)));
    default: {
      if (type === 'Counter64' && version === 'V1') throw refuse('cannot be a Counter64 with version V1');
      const { tag, least, most } = integers[type];
      if (!/^-?[0-9]{1,20}$/.test(text) || BigInt(text) < least || BigInt(text) > most)
        throw refuse(`must be an integer from ${least} to ${most} as ${type}`);
      return encodeInteger(BigInt(text), tag);
    }
  }
}

/** Whether the numbers fit in what BER carries: the second below 40 under 0 and 1, all of them 32 bits. */
export function isOid(text: string): boolean {
  if (!/^\.?[0-2](\.(0|[1-9][0-9]{0,9}))+$/.test(text)) return false;
  const [first = 0, second = 0, ...rest] = text.replace(/^\./, '').split('.').map(Number);
  return (first === 2 || second < 40) && [second, ...rest].every((number) => number < 2 ** 32);
}
