import assert from 'node:assert/strict';
import { test } from 'node:test';
import { movedFields } from '../../contract/destination-binding.ts';
import { parseConnection } from '../../contract/validation.ts';
import { notificationPdu } from './notification.ts';
import { parseConnectionString, snmp } from './snmp.definition.ts';

const minimal = {
  type: 'snmp',
  name: 'traps',
  connectionString: 'udp:h/162',
  securityOrCommunityName: 'public',
  pduOidForMessage: '1.3.6.1',
};

function faultyFields(body: object): string[] {
  const result = parseConnection(snmp, { ...minimal, ...body });
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('connection strings are read', () => {
  assert.deepEqual(parseConnectionString('UDP:H.example.com/162'), {
    transport: 'udp',
    host: 'h.example.com',
    port: 162,
  });
  for (const spelling of ['tcp:2001:DB8::1/10162', 'tcp:[2001:db8:0:0::1]/10162'])
    assert.deepEqual(parseConnectionString(spelling), { transport: 'tcp', host: '2001:db8::1', port: 10162 });
  for (const wrong of [
    'h/162',
    'udp:h',
    'udp:h:162',
    'udp:/162',
    'udp:h/0',
    'udp:h/65536',
    'tls:h/1',
    'udp:a b/1',
  ])
    assert.equal(parseConnectionString(wrong), undefined, wrong);
});

test('a port out of range is a fault of the string, a variable is judged later', () => {
  assert.deepEqual(faultyFields({ connectionString: 'udp:h/70000' }), ['connectionString']);
  assert.deepEqual(faultyFields({ connectionString: 'udp:${TRAP_HOST}/162' }), []);
});

test('INFORM does not exist in V1', () => {
  assert.deepEqual(faultyFields({ version: 'V1', messageType: 'INFORM' }), ['messageType']);
  assert.deepEqual(faultyFields({ version: 'V2c', messageType: 'INFORM' }), []);
});

test('a security level of V3 asks for its protocols and passphrases', () => {
  const v3 = (securityLevel: string, more: object = {}) =>
    faultyFields({ version: 'V3', securityLevel, ...more });
  const authentication = { usmUserAuthenticationProtocol: 'AuthSHA', authPassphrase: '12345678' };
  const privacy = { usmUserPrivacyProtocol: 'PrivAES128', privPassphrase: '12345678' };
  assert.deepEqual(v3('NOAUTH_NOPRIV'), []);
  assert.deepEqual(v3('AUTH_NOPRIV'), ['usmUserAuthenticationProtocol', 'authPassphrase']);
  assert.deepEqual(v3('AUTH_NOPRIV', authentication), []);
  assert.deepEqual(v3('AUTH_PRIV', authentication), ['usmUserPrivacyProtocol', 'privPassphrase']);
  assert.deepEqual(v3('AUTH_PRIV', { ...authentication, ...privacy }), []);
  assert.deepEqual(v3('AUTH_PRIV', { ...authentication, ...privacy, privPassphrase: '1234567' }), [
    'privPassphrase',
  ]);
  assert.deepEqual(faultyFields({ version: 'V1', securityLevel: 'AUTH_PRIV' }), []);
});

test('object identifiers may start with a dot, as names of variables too', () => {
  assert.deepEqual(
    faultyFields({ pduOidForMessage: '.1.3.6', pduVariableMap: { '.1.3': 'x', '1.3': 'y' } }),
    [],
  );
  assert.deepEqual(faultyFields({ pduOidForMessage: '1..3' }), ['pduOidForMessage']);
  assert.deepEqual(faultyFields({ pduVariableMap: { sysName: 'x' } }), ['pduVariableMap.sysName']);
});

test('the old spellings are stored under the present names', () => {
  const { pduOidForMessage, ...rest } = minimal;
  const result = parseConnection(snmp, {
    ...rest,
    pduUdpForMessage: pduOidForMessage,
    pduUdpForTime: '1.3.7',
    enabledUserAuthentication: true,
  });
  assert.ok(result.ok);
  assert.equal(result.config['pduOidForMessage'], '1.3.6.1');
  assert.equal(result.config['pduOidForTime'], '1.3.7');
  assert.equal(result.config['enableUserAuthentication'], true);
  assert.equal('pduUdpForMessage' in result.config, false);
});

test('another receiver and a lower level move, another spelling does not', () => {
  const moved = (before: object, after: object) =>
    movedFields(snmp, { ...minimal, ...before }, { ...minimal, ...after });
  assert.deepEqual(moved({}, { connectionString: 'UDP:H./162' }), []);
  assert.deepEqual(moved({}, { connectionString: 'tcp:h/162' }), ['connectionString']);
  assert.deepEqual(moved({ version: 'V3' }, { version: 'V2c' }), ['version']);
  assert.deepEqual(moved({ version: 'V2c' }, { version: 'V3' }), []);
  assert.deepEqual(moved({ securityLevel: 'AUTH_PRIV' }, { securityLevel: 'AUTH_NOPRIV' }), [
    'securityLevel',
  ]);
  assert.deepEqual(moved({ securityLevel: 'AUTH_PRIV' }, {}), ['securityLevel']);
});

test('a time without an OID to carry it is refused, not dropped', () => {
  const result = parseConnection(snmp, minimal);
  assert.ok(result.ok);
  const config = result.config as never;
  assert.throws(() => notificationPdu(config, { message: 'm', time: 'noon' }, 1), {
    code: 'bad_request',
    details: { validationErrors: [{ field: 'time', message: 'needs pduOidForTime in the connection' }] },
  });
  const withTime = parseConnection(snmp, { ...minimal, pduOidForTime: '1.3.6.1.4.1.9' });
  assert.ok(withTime.ok);
  const pdu = notificationPdu(withTime.config as never, { message: 'm', time: 'noon' }, 1);
  assert.ok(pdu.includes('noon'));
});
