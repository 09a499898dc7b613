import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { freePort, startOrSkip } from '../../../test/services/service.ts';
import { startSnmp4j } from '../../../test/services/snmp4j.ts';
import { type SnmptrapdService, startSnmptrapd, type TrapUser } from '../../../test/services/snmptrapd.ts';
import type { NotifyInput, SnmpConfig } from './notification.ts';
import { snmpConnector } from './snmp.connector.ts';

const messageOid = '1.3.6.1.4.1.8072.2.3.2.1';
const timeOid = '1.3.6.1.4.1.8072.2.3.2.2';
const authPassphrase = 'Canary-auth-passphrase';
const privPassphrase = 'Canary-priv-passphrase';

function config(overrides: Partial<SnmpConfig>): SnmpConfig {
  return {
    type: 'snmp',
    name: 'traps',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    version: 'V2c',
    connectionString: 'udp:127.0.0.1/162',
    securityOrCommunityName: 'canary-community',
    messageType: 'TRAP',
    retryCount: 0,
    timeout: 10_000,
    pduOidForMessage: `.${messageOid}`,
    pduVariableMap: {},
    enableUserAuthentication: false,
    ...overrides,
  };
}

async function open(t: TestContext, overrides: Partial<SnmpConfig>) {
  const live = await snmpConnector.open(
    config(overrides),
    createContext({ signal: new AbortController().signal }),
  );
  t.after(() => snmpConnector.close(live));
  return {
    live,
    notify: (input: NotifyInput, signal = AbortSignal.timeout(60_000)) =>
      snmpConnector.operations.notify(live, input, { signal }),
    prove: () => snmpConnector.prove(live, { signal: AbortSignal.timeout(60_000) }),
  };
}

async function stagesOf(overrides: Partial<SnmpConfig>) {
  const { stages } = await testConnection(
    snmpConnector,
    config(overrides),
    createContext({ signal: AbortSignal.timeout(60_000) }),
  );
  return Object.fromEntries(stages.map((stage) => [stage.stage, stage]));
}

const failsWith = (expected: string, message?: RegExp) => (error: unknown) => {
  const failure = snmpConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  if (message) assert.match(failure.message, message);
  return true;
};

const authentications = {
  AuthMD5: 'MD5',
  AuthSHA: 'SHA',
  AuthHMAC128SHA224: 'SHA-224',
  AuthHMAC192SHA256: 'SHA-256',
  AuthHMAC256SHA384: 'SHA-384',
  AuthHMAC384SHA512: 'SHA-512',
} as const;
const privacies = {
  PrivDES: 'DES',
  PrivAES128: 'AES',
  PrivAES192: 'AES-192',
  PrivAES256: 'AES-256',
  PrivAES192with3DES: 'AES-192-C',
  PrivAES256with3DES: 'AES-256-C',
} as const;

interface Combination {
  settings: Partial<SnmpConfig>;
  user: TrapUser;
}

function combinations(): Combination[] {
  const all: Combination[] = [{ settings: { securityName: 'nobody' }, user: { name: 'nobody' } }];
  for (const [usmUserAuthenticationProtocol, authentication] of entries(authentications)) {
    const name = `a-${authentication}`;
    const settings = { securityName: name, usmUserAuthenticationProtocol, authPassphrase };
    all.push({
      settings: { ...settings, securityLevel: 'AUTH_NOPRIV' },
      user: { name, authentication, authPassphrase },
    });
    for (const [usmUserPrivacyProtocol, privacy] of entries(privacies)) {
      const securityName = `${name}-${privacy}`;
      all.push({
        settings: {
          ...settings,
          securityName,
          securityLevel: 'AUTH_PRIV',
          usmUserPrivacyProtocol,
          privPassphrase,
        },
        user: { name: securityName, authentication, authPassphrase, privacy, privPassphrase },
      });
    }
  }
  return all;
}

function entries<K extends string, V>(record: Record<K, V>): [K, V][] {
  return Object.entries(record) as [K, V][];
}

/** As the test of a connection tells it to whoever sets the receiver up. */
async function ownEngineId(): Promise<string> {
  const stages = await stagesOf({ version: 'V3', connectionString: `udp:127.0.0.1/${await freePort()}` });
  const id = /engine id 0x([0-9a-f]+)/.exec(stages['authenticate']?.detail ?? '')?.[1];
  assert.ok(id, JSON.stringify(stages));
  return id;
}

const secure = {
  version: 'V3',
  messageType: 'INFORM',
  securityLevel: 'AUTH_PRIV',
  securityName: 'a-SHA-256-AES',
  usmUserAuthenticationProtocol: 'AuthHMAC192SHA256',
  authPassphrase,
  usmUserPrivacyProtocol: 'PrivAES128',
  privPassphrase,
} as const;

test('snmptrapd', async (t) => {
  const engineId = await ownEngineId();
  const users = combinations().flatMap(({ user }) => [user, { ...user, engineId }]);
  const service = await startOrSkip(t, () => startSnmptrapd(users));
  if (!service) return;
  t.after(() => service.stop());

  await connectorContract(t, 'informs of V3 over TCP', {
    connector: snmpConnector,
    config: () => config({ ...secure, connectionString: `tcp:127.0.0.1/${service.port}` }),
    configAt: ({ host, port, timeoutMs }) =>
      config({ ...secure, connectionString: `tcp:${host}/${port}`, timeout: timeoutMs }),
    badCredentials: () =>
      config({
        ...secure,
        connectionString: `tcp:127.0.0.1/${service.port}`,
        authPassphrase: 'Canary-wrong-passphrase',
      }),
    operate: (live, call) => snmpConnector.operations.notify(live, { message: 'contract' }, call),
    restart: () => service.restart(),
    silentAt: 'authenticate',
    garbledAt: 'authenticate',
    secrets: [authPassphrase, privPassphrase, 'canary-community', 'Canary-wrong-passphrase'],
    tls: false,
  });

  await communities(t, service);
  await everyProtocol(t, service);
  await refusals(t, service);
});

async function communities(t: TestContext, service: SnmptrapdService) {
  for (const transport of ['udp', 'tcp'] as const)
    for (const [version, messageType] of [
      ['V1', 'TRAP'],
      ['V2c', 'TRAP'],
      ['V2c', 'INFORM'],
    ] as const)
      await t.test(`${version} ${messageType} over ${transport}`, async (t) => {
        const message = `${version} ${messageType} ${transport} çöş`;
        const { notify, prove } = await open(t, {
          version,
          messageType,
          connectionString: `${transport}:127.0.0.1/${service.port}`,
          pduOidForTime: timeOid,
          pduVariableMap: { '1.3.6.1.4.1.8072.2.3.2.3': 'production' },
        });
        await prove();
        const result = await notify({
          message,
          time: '2026-11-22T00:00:00Z',
          variables: [
            { oid: '1.3.6.1.4.1.8072.9.1', type: 'Integer', value: -129 },
            { oid: '1.3.6.1.4.1.8072.9.2', type: 'Gauge32', value: '4294967295' },
            { oid: '1.3.6.1.4.1.8072.9.3', type: 'OID', value: '2.999.4294967295.0' },
            { oid: '1.3.6.1.4.1.8072.9.4', type: 'IpAddress', value: '192.0.2.255' },
            { oid: '1.3.6.1.4.1.8072.9.5', type: 'Counter32', value: 128 },
            { oid: '1.3.6.1.4.1.8072.9.6', type: 'TimeTicks', value: 0 },
            ...(version === 'V1'
              ? []
              : ([
                  { oid: '1.3.6.1.4.1.8072.9.7', type: 'Counter64', value: '18446744073709551615' },
                ] as const)),
          ],
        });
        assert.equal(result.messageType, messageType);
        assert.equal(result.acknowledged, messageType === 'INFORM');
        const [{ security, enterprise, variables } = assert.fail()] = await service.received((each) =>
          // snmptrapd prints a dot for each octet beyond ASCII.
          (each.variables[`.${messageOid}`] ?? '').includes(message.replace(/çöş$/, '......')),
        );
        assert.match(security, /community canary-community/);
        if (version === 'V1') assert.equal(enterprise, `.${messageOid}.6.1`);
        else assert.equal(variables['.1.3.6.1.6.3.1.1.4.1.0'], `OID: .${messageOid}`);
        const expected: Record<string, string> = {
          [`.${timeOid}`]: 'STRING: "2026-11-22T00:00:00Z"',
          '.1.3.6.1.4.1.8072.2.3.2.3': 'STRING: "production"',
          '.1.3.6.1.4.1.8072.9.1': 'INTEGER: -129',
          '.1.3.6.1.4.1.8072.9.2': 'Gauge32: 4294967295',
          '.1.3.6.1.4.1.8072.9.3': 'OID: .2.999.4294967295.0',
          '.1.3.6.1.4.1.8072.9.4': 'IpAddress: 192.0.2.255',
          '.1.3.6.1.4.1.8072.9.5': 'Counter32: 128',
          '.1.3.6.1.4.1.8072.9.6': '0',
          ...(version === 'V1' ? {} : { '.1.3.6.1.4.1.8072.9.7': 'Counter64: 18446744073709551615' }),
        };
        for (const [oid, value] of Object.entries(expected)) assert.equal(variables[oid], value, oid);
      });
}

async function everyProtocol(t: TestContext, service: SnmptrapdService) {
  for (const messageType of ['INFORM', 'TRAP'] as const)
    await t.test(`V3 ${messageType} with every authentication and privacy that snmptrapd has`, async (t) => {
      for (const { settings } of combinations()) {
        const name = settings.securityName;
        const { notify, prove } = await open(t, {
          ...settings,
          version: 'V3',
          messageType,
          timeout: 3000,
          connectionString: `udp:127.0.0.1/${service.port}`,
        });
        const message = `${messageType} by ${name}`;
        await prove();
        const { acknowledged } = await notify({ message }).catch((error: Error) =>
          assert.fail(`${message}: ${error.message}`),
        );
        assert.equal(acknowledged, messageType === 'INFORM');
        const [{ security } = assert.fail()] = await service.received(
          ({ variables }) => variables[`.${messageOid}`] === `STRING: "${message}"`,
        );
        assert.match(security, new RegExp(`SNMP v3, user ${name},`));
      }
    });
}

async function refusals(t: TestContext, service: SnmptrapdService) {
  const overUdp = { connectionString: `udp:127.0.0.1/${service.port}` };

  await t.test('the test tells what is wrong with a user, and sends one notification', async () => {
    for (const [overrides, said] of [
      [{ securityName: 'stranger' }, /does not know the user stranger/],
      [{ authPassphrase: 'another passphrase' }, /another authentication protocol or passphrase/],
    ] as const) {
      const stages = await stagesOf({ ...secure, ...overUdp, ...overrides });
      assert.equal(stages['authenticate']?.code, 'authentication_failed');
      assert.match(stages['authenticate']?.detail ?? '', said);
    }
    const isTest = ({ variables }: { variables: Record<string, string> }) =>
      /plugboard connection test/.test(variables[`.${messageOid}`] ?? '');
    const before = (await service.notifications()).filter(isTest).length;
    const stages = await stagesOf({ ...secure, ...overUdp });
    assert.equal(stages['operate']?.status, 'passed', JSON.stringify(stages));
    assert.match(stages['operate']?.detail ?? '', /has acknowledged/);
    assert.match(stages['authenticate']?.detail ?? '', /user a-SHA-256-AES at engine 0x80/);
    assert.equal((await service.received(isTest, before + 1)).length, before + 1);
  });

  await t.test('another privacy passphrase', async (t) => {
    const { notify } = await open(t, {
      ...secure,
      ...overUdp,
      timeout: 1000,
      privPassphrase: 'another passphrase',
    });
    // snmptrapd reports a decryption error, or drops what it cannot read.
    await assert.rejects(notify({ message: 'x' }), (error: unknown) => {
      const { code, details } = snmpConnector.classify(error);
      assert.ok(code === 'authentication_failed' || (code === 'target_timeout' && details.hint), code);
      return true;
    });
  });

  await t.test('an unknown community is not answered: the hint says so', async () => {
    const stages = await stagesOf({
      ...overUdp,
      messageType: 'INFORM',
      timeout: 500,
      securityOrCommunityName: 'canary-stranger',
    });
    assert.equal(stages['operate']?.code, 'target_timeout');
    assert.match(stages['operate']?.hint ?? '', /community/);
  });

  await t.test('a restarted receiver is synchronised with again', async (t) => {
    const { notify } = await open(t, { ...secure, ...overUdp });
    await notify({ message: 'before the restart' });
    await service.restart();
    await notify({ message: 'after the restart' });
    await service.received(({ variables }) => /after the restart/.test(variables[`.${messageOid}`] ?? ''));
  });
}

test('INFORMs are repeated until they are acknowledged, as often as is said', async (t) => {
  const peer = createSocket('udp4').bind(0, '127.0.0.1');
  await once(peer, 'listening');
  t.after(() => peer.close());
  const seen: Buffer[] = [];
  let answerAfter = 3;
  peer.on('message', (bytes, from) => {
    seen.push(bytes);
    if (seen.length < answerAfter) return;
    const answer = Buffer.from(bytes);
    answer[answer.indexOf(0xa6)] = 0xa2;
    peer.send(answer, from.port, from.address);
  });
  const { notify } = await open(t, {
    messageType: 'INFORM',
    retryCount: 2,
    timeout: 300,
    securityOrCommunityName: 'c',
    connectionString: `udp:127.0.0.1/${peer.address().port}`,
  });
  assert.equal((await notify({ message: 'x' })).acknowledged, true);
  assert.equal(seen.length, 3);
  assert.ok(
    seen.every((bytes) => bytes.equals(seen[0]!)),
    'the same request each time',
  );
  seen.length = 0;
  answerAfter = 99;
  await assert.rejects(notify({ message: 'x' }), failsWith('target_timeout'));
  assert.equal(seen.length, 3);
});

test('a closed UDP port is heard of: at once by INFORM and the test, by the next TRAP or proof else', async (t) => {
  const connectionString = `udp:127.0.0.1/${await freePort()}`;
  const informs = await open(t, { connectionString, messageType: 'INFORM' });
  await assert.rejects(informs.notify({ message: 'x' }), failsWith('connection_refused'));
  const stages = await stagesOf({ connectionString });
  assert.equal(stages['operate']?.code, 'connection_refused');
  const traps = await open(t, { connectionString });
  await traps.notify({ message: 'x' });
  await sleep(200);
  await assert.rejects(traps.prove(), failsWith('connection_refused'));
  await traps.notify({ message: 'x' });
  await sleep(200);
  await assert.rejects(traps.notify({ message: 'x' }), failsWith('connection_refused'));
});

test('values that a type cannot hold are refused by their field', async (t) => {
  const { notify } = await open(t, { version: 'V1', connectionString: `udp:127.0.0.1/${await freePort()}` });
  for (const [type, value] of [
    ['Integer', 2 ** 31],
    ['Integer', 'one'],
    ['Gauge32', -1],
    ['Counter32', '4294967296'],
    ['Counter64', 1],
    ['IpAddress', '192.0.2.256'],
    ['OID', '1.99.1'],
    ['OID', '1.3.4294967296'],
  ] as const)
    await assert.rejects(
      notify({ message: 'x', variables: [{ oid: '1.3.6', type, value }] }),
      failsWith('bad_request', /^variables\[0\]\.value/),
    );
  await assert.rejects(
    async () =>
      snmpConnector.open(
        config({ pduOidForMessage: '1.40.1' }),
        createContext({ signal: new AbortController().signal }),
      ),
    failsWith('invalid_configuration'),
  );
});

test('SNMP4J, with the privacy protocols that snmptrapd lacks', async (t) => {
  const service = await startOrSkip(t, () => startSnmp4j(authPassphrase, privPassphrase));
  if (!service) return;
  t.after(() => service.stop());
  for (const [usmUserAuthenticationProtocol, short] of [
    ['AuthMD5', 'MD5'],
    ['AuthSHA', 'SHA'],
    ['AuthHMAC192SHA256', 'SHA256'],
  ] as const)
    for (const usmUserPrivacyProtocol of [
      'Priv3DES',
      'PrivAES192',
      'PrivAES256',
      'PrivAES192with3DES',
      'PrivAES256with3DES',
    ] as const) {
      const securityName = `${short}-${usmUserPrivacyProtocol}`;
      const { notify } = await open(t, {
        ...secure,
        connectionString: `udp:127.0.0.1/${service.port}`,
        usmUserAuthenticationProtocol,
        usmUserPrivacyProtocol,
        securityName,
      });
      assert.equal((await notify({ message: 'hello' })).acknowledged, true, securityName);
      const deadline = Date.now() + 20_000;
      while (!service.received().includes(`INFORM ${securityName} hello`)) {
        assert.ok(Date.now() < deadline, securityName);
        await sleep(20);
      }
    }
});
