import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { startTap } from '../../../test/contract/tap.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { type SlapdOptions, type SlapdService, startSlapd } from '../../../test/services/slapd.ts';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import { ldapConnector } from './ldap.connector.ts';
import type { ldap } from './ldap.definition.ts';

type Config = ConfigOf<typeof ldap>;
type Operations = (typeof ldap)['operations'];

const authority = createAuthority();
const certificate = authority.issue({ commonName: 'localhost', names: ['localhost'], ips: ['127.0.0.1'] });
const trust = trustIn(authority.caPem);
const wrongPassword = 'Canary-wr0ng-passw0rd';
const people = 'ou=people,dc=example,dc=com';
const passwords = { alice: 'Canary-alice-1', star: 'Canary-star-1' };
/** A JPEG begins so; no UTF-8. */
const photo = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10]);

const person = (uid: string, more = '') =>
  `dn: uid=${uid.replaceAll('*', '\\2a').replaceAll(',', '\\2c')},${people}\nobjectClass: inetOrgPerson\nuid: ${uid}\ncn: ${uid}\nsn: Test\n${more}\n`;

const entries = [
  `dn: ${people}\nobjectClass: organizationalUnit\nou: people\n`,
  person(
    'alice',
    `userPassword: ${passwords.alice}\nmail: alice@example.com\nmail: a@example.com\njpegPhoto:: ${photo.toString('base64')}\ngivenName:: ${Buffer.from('Älice').toString('base64')}\n`,
  ),
  person('a*', `userPassword: ${passwords.star}\n`),
  person('nopassword'),
  person('twin1', 'employeeNumber: 7\nuserPassword: Canary-twin\n'),
  person('twin2', 'employeeNumber: 7\nuserPassword: Canary-twin\n'),
  ...Array.from({ length: 40 }, (_, at) => person(`user${at}`, 'employeeType: many\n')),
  `dn: ou=elsewhere,dc=example,dc=com\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\nref: ldap://169.254.169.254/dc=other\n`,
].join('\n');

async function serve(t: TestContext, options: Partial<SlapdOptions> = {}): Promise<SlapdService | undefined> {
  const service = await startOrSkip(t, () => startSlapd({ certificate, entries, ...options }));
  if (service) t.after(() => service.stop());
  return service;
}

function config(service: SlapdService, overrides: Partial<Config> = {}): Config {
  return {
    type: 'ldap',
    name: 'directory',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    serverAddress: `ldap://127.0.0.1:${service.port}`,
    useSsl: false,
    startTls: false,
    requireCertificateType: 'NOT_REQUIRED',
    username: service.adminDn,
    password: service.adminPassword,
    baseDn: people,
    searchScope: 'SUBTREE',
    connectionTimeout: 20_000,
    ...overrides,
  };
}

function open(t: TestContext, configured: Config, trusted = trust) {
  const ctx = createContext({ signal: new AbortController().signal, trust: trusted });
  const live = ldapConnector.open(configured, ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => ldapConnector.close(live));
  const call = () => ({ signal: AbortSignal.timeout(60_000) });
  return {
    live,
    authenticate: (username: string, password: string, attributes?: string[]) =>
      ldapConnector.operations.authenticate(
        live,
        { username, password, ...(attributes ? { attributes } : {}) },
        call(),
      ),
    search: (input: InputOf<Operations['search']>) => ldapConnector.operations.search(live, input, call()),
  };
}

async function stagesOf(configured: Config, trusted = trust) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trusted });
  const { stages, warnings = [] } = await testConnection(ldapConnector, configured, ctx);
  const byName = Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<
    StageName,
    StageResult
  >;
  return { ...byName, warnings };
}

const code = (expected: string) => (error: unknown) => {
  const failure = ldapConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

const transports = [
  { title: 'plain', scheme: 'ldap', settings: {}, silentAt: 'authenticate', tls: false },
  { title: 'StartTLS', scheme: 'ldap', settings: { startTls: true }, silentAt: 'tls', tls: true },
  { title: 'ldaps', scheme: 'ldaps', settings: { useSsl: true }, silentAt: 'tls', tls: true },
] as const;

for (const { title, scheme, settings, silentAt, tls } of transports)
  test(`ldap contract, ${title}`, async (t) => {
    const service = await serve(t);
    if (!service) return;
    const base: Partial<Config> = {
      ...settings,
      requireCertificateType: tls ? 'REQUIRED_AN_PN' : 'NOT_REQUIRED',
      ...(tls ? { certificateName: 'directory-ca' } : {}),
      serverAddress: `${scheme}://127.0.0.1:${scheme === 'ldaps' ? service.ldapsPort : service.port}`,
    };
    await connectorContract(t, `ldap, ${title}`, {
      connector: ldapConnector,
      config: () => config(service, base),
      configAt: ({ host, port, timeoutMs }) =>
        config(service, {
          ...base,
          serverAddress: `${scheme}://${host}:${port}`,
          // The least that a definition accepts.
          connectionTimeout: Math.max(1000, timeoutMs),
        }),
      badCredentials: () => config(service, { ...base, password: wrongPassword }),
      operate: (live, call) => ldapConnector.operations.search(live, { filter: '(uid=alice)' }, call),
      restart: () => service.restart(),
      trust,
      silentAt,
      garbledAt: silentAt,
      secrets: [service.adminPassword, wrongPassword],
      tls,
    });
  });

test('authenticates users, and nobody else', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { authenticate, live } = open(t, config(service));
  const dn = `uid=alice,${people}`;
  assert.deepEqual(await authenticate('alice', passwords.alice), { authenticated: true, dn });
  assert.deepEqual(await authenticate('alice', passwords.alice, ['mail', 'givenName']), {
    authenticated: true,
    dn,
    attributes: { mail: ['alice@example.com', 'a@example.com'], givenName: ['Älice'] },
  });
  const refused = { authenticated: false };
  assert.deepEqual(await authenticate('alice', wrongPassword), refused);
  assert.deepEqual(await authenticate('nobody', passwords.alice), refused);
  assert.deepEqual(await authenticate('nopassword', wrongPassword), refused);

  await t.test('a user name cannot change the filter', async () => {
    assert.deepEqual(await authenticate('a*', passwords.alice), refused);
    assert.equal((await authenticate('a*', passwords.star)).dn, `uid=a*,${people}`);
    for (const name of ['*', 'alice)(uid=*', '*)(|(uid=*', 'alic\\65', 'alice\0', '(', ')', '\\'])
      assert.deepEqual(await authenticate(name, passwords.alice), refused, name);
  });
  await t.test('an empty password never reaches the server', async () => {
    await assert.rejects(authenticate('alice', ''), code('request_rejected'));
  });
  await t.test('a name that finds several entries is refused', async () => {
    const several = open(t, config(service, { customFilter: '(employeeNumber={0})' }));
    await assert.rejects(several.authenticate('7', 'Canary-twin'), code('request_rejected'));
  });
  await t.test('what others log in as does not change who searches', async () => {
    const { entries: found } = await ldapConnector.operations.search(
      live,
      { filter: '(uid=alice)', attributes: ['userPassword'] },
      { signal: AbortSignal.timeout(60_000) },
    );
    // Only the configured account may read it.
    assert.deepEqual(found[0]?.attributes, { userPassword: [passwords.alice] });
  });
});

test('searches with parameters, scopes, limits and pages', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { search } = open(t, config(service));
  const { entries: found, truncated } = await search({ filter: '(uid={0})', parameters: ['alice'] });
  assert.equal(truncated, false);
  assert.equal(found.length, 1);
  const { attributes } = found[0]!;
  assert.deepEqual(attributes['cn'], ['alice']);
  assert.deepEqual(attributes['mail'], ['alice@example.com', 'a@example.com']);
  assert.deepEqual(attributes['givenName'], ['Älice']);
  assert.deepEqual(attributes['jpegPhoto;binary'], [photo.toString('base64')]);
  assert.ok(!('jpegPhoto' in attributes));

  const injected = await search({ filter: '(uid={0})', parameters: ['*)(uid=*'] });
  assert.deepEqual(injected.entries, []);
  const many = '(employeeType=many)';
  for (const [sizeLimit, length, more] of [
    [10, 10, true],
    [39, 39, true],
    [40, 40, false],
    [1000, 40, false],
  ] as const) {
    const page = await search({ filter: many, sizeLimit, attributes: ['uid'] });
    assert.equal(page.entries.length, length);
    assert.equal(page.truncated, more);
    assert.deepEqual(Object.keys(page.entries[0]!.attributes), ['uid']);
  }
  assert.equal((await search({ filter: '(uid=alice)', scope: 'OBJECT' })).entries.length, 0);
  assert.equal((await search({ filter: '(uid=alice)', scope: 'ONE_LEVEL' })).entries.length, 1);
  assert.equal(
    (await search({ filter: '(uid=alice)', scope: 'ONE_LEVEL', baseDn: service.suffix })).entries.length,
    0,
  );
  await assert.rejects(search({ filter: '(uid=alice' }), code('request_rejected'));
  await assert.rejects(
    search({ filter: '(uid=a)', baseDn: `ou=none,${service.suffix}` }),
    code('request_rejected'),
  );
  assert.equal((await search({ filter: '(uid=alice)' })).entries.length, 1, 'the connection is still good');
});

test('searchScope says where users are found, and what a search covers that names no scope', async (t) => {
  const service = await serve(t);
  if (!service) return;
  for (const [searchScope, baseDn, isFound] of [
    ['SUBTREE', service.suffix, true],
    ['ONE_LEVEL', service.suffix, false],
    ['ONE_LEVEL', people, true],
    ['OBJECT', people, false],
    ['OBJECT', `uid=alice,${people}`, true],
  ] as const) {
    const { authenticate, search } = open(t, config(service, { searchScope, baseDn }));
    assert.equal((await authenticate('alice', passwords.alice)).authenticated, isFound, searchScope);
    assert.equal((await search({ filter: '(uid=alice)' })).entries.length, isFound ? 1 : 0);
  }
});

test('the server is told the time limit, that of the connection or of the search', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const tap = await startTap(t, service.port);
  const { search } = open(
    t,
    config(service, { serverAddress: `ldap://127.0.0.1:${tap.port}`, connectionTimeout: 7000 }),
  );
  await search({ filter: '(uid=alice)' });
  await search({ filter: '(uid=alice)', timeLimitSeconds: 99 });
  // SearchRequest: derefAliases never, then sizeLimit and timeLimit as INTEGER (RFC 4511 4.5.1).
  const limits = [
    ...tap
      .sent()
      .toString('latin1')
      .matchAll(/\x0a\x01\x00\x02\x01\x00\x02\x01([\s\S])/g),
  ];
  assert.deepEqual(
    limits.map(([, seconds]) => seconds!.charCodeAt(0)),
    [7, 99],
  );
});

test('where the server limits the entries, it says that there are more', async (t) => {
  const service = await serve(t, {
    databaseConfig: [
      `limits dn.exact="uid=alice,${people}" size.soft=15 size.hard=15 size.prtotal=15`,
      'access to attrs=userPassword by anonymous auth by * none',
      'access to * by * read',
    ],
  });
  if (!service) return;
  const { search } = open(t, config(service, { username: `uid=alice,${people}`, password: passwords.alice }));
  const { entries: found, truncated } = await search({ filter: '(employeeType=many)' });
  assert.equal(truncated, true);
  assert.equal(found.length, 15);
});

test('referrals are not followed', async (t) => {
  const service = await serve(t);
  if (!service) return;
  const { search } = open(t, config(service));
  const whole = await search({ filter: '(uid=alice)', baseDn: service.suffix });
  assert.equal(whole.entries.length, 1);
  await assert.rejects(search({ filter: '(uid=*)', baseDn: `ou=elsewhere,${service.suffix}` }), (error) => {
    assert.match(ldapConnector.classify(error).details.hint ?? '', /not followed/);
    return code('request_rejected')(error);
  });
});

test('the certificate is verified as required', async (t) => {
  const issued = {
    both: certificate,
    onlyCn: authority.issue({ commonName: '127.0.0.1' }),
    onlySan: authority.issue({ commonName: 'other.example.com', ips: ['127.0.0.1'] }),
    expired: authority.issue({ commonName: '127.0.0.1', ips: ['127.0.0.1'], expired: true }),
  };
  const other = trustIn(createAuthority('Another CA').caPem);
  const cases = [
    { cert: 'both', type: 'NOT_REQUIRED', trusted: other, expected: undefined },
    { cert: 'expired', type: 'NOT_REQUIRED', trusted: trust, expected: undefined },
    { cert: 'onlyCn', type: 'REQUIRED_CN', trusted: trust, expected: undefined },
    { cert: 'onlyCn', type: 'REQUIRED_CN', trusted: other, expected: 'certificate_untrusted' },
    { cert: 'onlySan', type: 'REQUIRED_CN', trusted: trust, expected: 'certificate_wrong_host' },
    { cert: 'onlySan', type: 'REQUIRED_AN_PN', trusted: trust, expected: undefined },
    { cert: 'onlySan', type: 'REQUIRED_AN_PN', trusted: other, expected: 'certificate_untrusted' },
    { cert: 'onlyCn', type: 'REQUIRED_AN_PN', trusted: trust, expected: 'certificate_wrong_host' },
    { cert: 'expired', type: 'REQUIRED_AN_PN', trusted: trust, expected: 'certificate_expired' },
  ] as const;
  for (const cert of new Set(cases.map((each) => each.cert))) {
    const service = await serve(t, { certificate: issued[cert] });
    if (!service) return;
    for (const { type, trusted, expected } of cases.filter((each) => each.cert === cert))
      for (const startTls of [true, false]) {
        const { tls, authenticate, warnings } = await stagesOf(
          config(service, {
            requireCertificateType: type,
            ...(type === 'REQUIRED_AN_PN' ? { certificateName: 'directory-ca' } : {}),
            startTls,
            useSsl: !startTls,
            serverAddress: startTls
              ? `ldap://127.0.0.1:${service.port}`
              : `ldaps://127.0.0.1:${service.ldapsPort}`,
          }),
          trusted,
        );
        assert.equal(tls?.code, expected, `${cert} ${type}: ${tls?.detail}`);
        assert.equal(authenticate?.status, expected ? 'skipped' : 'passed');
        if (type === 'NOT_REQUIRED') {
          assert.match(warnings.join(), /requireCertificateType/);
          assert.match(tls?.detail ?? '', /^TLSv1\.[23], .*NOT verified$/);
        }
      }
  }
});

test('a server without StartTLS gets no password', async (t) => {
  const service = await startOrSkip(t, () => startSlapd({ entries }));
  if (!service) return;
  t.after(() => service.stop());
  const { tls, authenticate } = await stagesOf(config(service, { startTls: true }));
  assert.equal(tls?.code, 'tls_not_offered');
  assert.match(tls?.hint ?? '', /ldaps/);
  assert.equal(authenticate?.status, 'skipped');
});

test('the test says what was seen, and what to do', async (t) => {
  const service = await serve(t, { config: ['require authc'] });
  if (!service) return;
  const good = await stagesOf(config(service, { startTls: true }));
  assert.match(good.tls?.detail ?? '', /StartTLS.*subject localhost, issuer Plugboard Test CA, valid until/);
  assert.match(good.tls?.hint ?? '', /REQUIRED_AN_PN/);
  assert.equal(good.authenticate?.detail, `simple bind as ${service.adminDn}`);
  assert.match(good.operate?.detail ?? '', /user filter finds entries/);
  const plain = await stagesOf(config(service));
  assert.match(plain.operate?.hint ?? '', /offers StartTLS: turn on startTls/);
  const none = await stagesOf(config(service, { customFilter: '(employeeNumber={0}x)' }));
  assert.equal(none.operate?.status, 'passed');
  assert.match(none.operate?.hint ?? '', /customFilter/);
  const missing = await stagesOf(config(service, { baseDn: `ou=none,${service.suffix}` }));
  assert.equal(missing.operate?.code, 'request_rejected');
  assert.match(missing.operate?.hint ?? '', /baseDn/);
  const badDn = await stagesOf(config(service, { username: 'not a dn' }));
  assert.equal(badDn.authenticate?.status, 'failed');
  assert.match(badDn.authenticate?.hint ?? '', /distinguished name/);
});

test('what the password policy says of the account is told, but not of users', async (t) => {
  const rule = (name: string, more: string) =>
    `dn: cn=${name},dc=example,dc=com\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: ${name}\npwdAttribute: userPassword\n${more}\n`;
  const days = (count: number) =>
    `${new Date(Date.now() - count * 86_400_000).toISOString().replace(/[-:T]|\.\d+/g, '')}`;
  const service = await serve(t, {
    config: ['moduleload ppolicy'],
    databaseConfig: [
      'overlay ppolicy',
      'ppolicy_default "cn=standard,dc=example,dc=com"',
      'ppolicy_use_lockout',
      'access to attrs=userPassword by anonymous auth',
      'access to * by * read',
    ],
    entries: [
      entries,
      rule('standard', 'pwdLockout: TRUE\npwdMaxFailure: 2\n'),
      rule('month', 'pwdMaxAge: 2592000\npwdExpireWarning: 2592000\n'),
      person(
        'old',
        `userPassword: Canary-old-1\npwdPolicySubentry: cn=month,dc=example,dc=com\npwdChangedTime: ${days(40)}\n`,
      ),
      person(
        'soon',
        `userPassword: Canary-soon-1\npwdPolicySubentry: cn=month,dc=example,dc=com\npwdChangedTime: ${days(29)}\n`,
      ),
    ].join('\n'),
  });
  if (!service) return;
  const as = (uid: string, password: string) =>
    config(service, { username: `uid=${uid},${people}`, password });

  const soon = await stagesOf(as('soon', 'Canary-soon-1'));
  assert.equal(soon.authenticate?.status, 'passed');
  assert.match(soon.authenticate?.hint ?? '', /expires in \d+ hours/);
  const old = await stagesOf(as('old', 'Canary-old-1'));
  assert.equal(old.authenticate?.code, 'authentication_failed');
  assert.equal(old.authenticate?.hint, 'The password has expired.');

  const { authenticate, search: look } = open(t, config(service));
  // slapd can have answered before it has written down that a log-in failed.
  const isLocked = async () => {
    const asked = { filter: '(&(uid=alice)(pwdAccountLockedTime=*))', attributes: ['uid'] };
    return (await look(asked)).entries.length > 0;
  };
  for (let time = 0; time < 2 || !(await isLocked()); time++) {
    assert.ok(time < 20, 'she is never locked');
    assert.deepEqual(await authenticate('alice', wrongPassword), { authenticated: false });
  }
  assert.deepEqual(await authenticate('alice', passwords.alice), { authenticated: false }, 'she is locked');
  const locked = await stagesOf(as('alice', passwords.alice));
  assert.deepEqual(
    [locked.authenticate?.code, locked.authenticate?.retryable, locked.authenticate?.hint],
    ['authentication_failed', false, 'The account is locked.'],
  );
  const { search } = open(t, as('alice', passwords.alice));
  await assert.rejects(search({ filter: '(uid=alice)' }), code('authentication_failed'));
});
