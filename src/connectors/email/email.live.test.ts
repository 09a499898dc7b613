import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext, testConnection, trustIn } from '../../../test/contract/connector-context.ts';
import { connectorContract } from '../../../test/contract/connector-contract.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { startTap } from '../../../test/contract/tap.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { type SmtpOptions, type SmtpService, startPostfix, startSmtp } from '../../../test/services/smtp.ts';
import type { StageName, StageResult } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import type { Trust } from '../connector.ts';
import { emailConnector } from './email.connector.ts';
import type { MailInput } from './mail-message.ts';
import type { EmailConfig } from './smtp-settings.ts';

const authority = createAuthority();
const certificate = authority.issue({ commonName: 'mail.test', names: ['localhost'], ips: ['127.0.0.1'] });
const trust = trustIn(authority.caPem);
const account = { user: 'robot@example.com', password: 'Canary-p4ss/w+rd=ü' };

function config(overrides: Partial<EmailConfig>): EmailConfig {
  return {
    type: 'email',
    name: 'mail',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    host: '127.0.0.1',
    port: 587,
    enableStartTls: false,
    useSsl: false,
    auth: false,
    defaultEncoding: 'UTF-8',
    from: 'Plugboard <robot@example.com>',
    additionalProperties: [],
    verifyCertificate: true,
    ...overrides,
  };
}

const logIn = { auth: true, username: account.user, password: account.password };
const mail: MailInput = { to: ['reader@example.org'], subject: 'Hello', text: 'World' };

/** Opens a connection for one test; it is closed behind it. */
function open(t: TestContext, overrides: Partial<EmailConfig>, trusted: Trust = trust) {
  const ctx = createContext({ signal: new AbortController().signal, trust: trusted });
  const live = emailConnector.open(config(overrides), ctx);
  assert.ok(!(live instanceof Promise));
  t.after(() => emailConnector.close(live));
  const signal = AbortSignal.timeout(60_000);
  return {
    ctx,
    live,
    send: (input: Partial<MailInput> = {}) =>
      emailConnector.operations.send(live, { ...mail, ...input }, { signal }),
  };
}

async function stagesOf(overrides: Partial<EmailConfig>, trusted: Trust = trust) {
  const ctx = createContext({ signal: AbortSignal.timeout(60_000), trust: trusted });
  const { stages, warnings = [] } = await testConnection(emailConnector, config(overrides), ctx);
  const byName = Object.fromEntries(stages.map((stage) => [stage.stage, stage])) as Record<
    StageName,
    StageResult
  >;
  return { ...byName, warnings };
}

async function serve(t: TestContext, options: SmtpOptions): Promise<SmtpService> {
  const service = await startSmtp({ certificate, ...options });
  t.after(() => service.stop());
  return service;
}

const code = (expected: string) => (error: unknown) => {
  const failure = emailConnector.classify(error);
  assert.equal(failure.code, expected, failure.message);
  return true;
};

const transports = [
  { title: 'plain', server: { tls: 'none' }, settings: {}, silentAt: 'connect' },
  { title: 'STARTTLS', server: { tls: 'starttls' }, settings: { enableStartTls: true }, silentAt: 'connect' },
  { title: 'implicit TLS', server: { tls: 'implicit' }, settings: { useSsl: true }, silentAt: 'tls' },
] as const;

for (const { title, server, settings, silentAt } of transports)
  test(`email contract, ${title}`, async (t) => {
    const service = await serve(t, { ...server, account });
    const base = { host: service.host, port: service.port, ...settings, ...logIn };
    await connectorContract(t, `email, ${title}`, {
      connector: emailConnector,
      config: () => config(base),
      configAt: ({ host, port, timeoutMs }) =>
        config({
          ...base,
          host,
          port,
          additionalProperties: ['connectiontimeout', 'timeout', 'writetimeout'].map((name) => ({
            name: `mail.smtp.${name}`,
            value: `${timeoutMs}`,
          })),
        }),
      badCredentials: () => config({ ...base, password: 'Canary-wr0ng-passw0rd' }),
      operate: (live, call) => emailConnector.operations.send(live, mail, call),
      restart: () => service.restart(),
      trust,
      silentAt,
      garbledAt: silentAt,
      secrets: [account.password, 'Canary-wr0ng-passw0rd'],
      tls: server.tls !== 'none',
    });
    assert.equal(service.sockets(), 0);
  });

for (const mechanism of ['PLAIN', 'LOGIN', 'CRAM-MD5'])
  test(`logs in by ${mechanism}`, async (t) => {
    const { port, mails } = await serve(t, { account, mechanisms: [mechanism] });
    const { send } = open(t, { port, ...logIn });
    await send();
    assert.equal(mails[0]?.user, account.user);
    const { authenticate } = await stagesOf({ port, ...logIn });
    assert.equal(authenticate?.detail, `${mechanism} as ${account.user}`);
  });

test('chooses the first listed mechanism that is offered', async (t) => {
  const { port } = await serve(t, { account, mechanisms: ['PLAIN', 'LOGIN'] });
  const listed = (value: string) => ({
    port,
    ...logIn,
    additionalProperties: [{ name: 'mail.smtp.auth.mechanisms', value }],
  });
  const chosen = await stagesOf(listed('CRAM-MD5 LOGIN PLAIN'));
  assert.match(chosen['authenticate']?.detail ?? '', /^LOGIN as/);
  const none = await stagesOf(listed('CRAM-MD5'));
  assert.equal(none['authenticate']?.code, 'authentication_failed');
  assert.match(none['authenticate']?.detail ?? '', /PLAIN, LOGIN/);
});

test('a server that offers no log-in gets no password', async (t) => {
  const { port } = await serve(t, {});
  const { authenticate, operate } = await stagesOf({ port, ...logIn });
  assert.equal(authenticate?.code, 'authentication_failed');
  assert.match(authenticate?.hint ?? '', /enableStartTls/);
  assert.equal(operate?.status, 'skipped');
});

test('a refused log-in names what was offered, and what to do', async (t) => {
  const refuseLogInWith = { code: 534, message: '5.7.9 Application-specific password required - gsmtp' };
  const { port } = await serve(t, { account, refuseLogInWith });
  const { authenticate } = await stagesOf({ port, ...logIn });
  assert.equal(authenticate?.code, 'authentication_failed');
  assert.match(authenticate?.detail ?? '', /534.*the server offers PLAIN, LOGIN, CRAM-MD5/);
  assert.match(authenticate?.hint ?? '', /app password/);
});

test('a log-in that fails for the moment may be tried again', async (t) => {
  const refuseLogInWith = { code: 454, message: '4.7.0 Temporary authentication failure' };
  const { port } = await serve(t, { account, refuseLogInWith });
  const { authenticate } = await stagesOf({ port, ...logIn });
  assert.equal(authenticate?.code, 'target_busy');
  assert.equal(authenticate?.retryable, true);
});

test('STARTTLS is demanded: without it nothing is sent', async (t) => {
  const { port, mails } = await serve(t, { tls: 'none', account });
  const { connect, tls, authenticate } = await stagesOf({ port, enableStartTls: true, ...logIn });
  assert.equal(connect?.status, 'passed');
  assert.equal(tls?.code, 'tls_not_offered');
  assert.match(tls?.hint ?? '', /465/);
  assert.equal(authenticate?.status, 'skipped');
  const { send } = open(t, { port, enableStartTls: true, ...logIn });
  await assert.rejects(send(), code('tls_not_offered'));
  assert.equal(mails.length, 0);
});

test('says what TLS was seen, and that plain could be TLS', async (t) => {
  const { port } = await serve(t, { tls: 'starttls' });
  const secured = await stagesOf({ port, enableStartTls: true });
  assert.match(
    secured['tls']?.detail ?? '',
    /^TLSv1\.3, TLS_\w+ \(STARTTLS\), subject mail\.test, issuer Plugboard Test CA, valid until \d{4}-/,
  );
  const plain = await stagesOf({ port });
  assert.equal(plain['tls']?.status, 'skipped');
  assert.match(plain['tls']?.detail ?? '', /offers STARTTLS/);
  assert.equal(plain['operate']?.status, 'passed');
});

test('implicit TLS against a plain port, and plain against an implicit port, name the remedy', async (t) => {
  const plain = await serve(t, { tls: 'starttls' });
  const wrong = await stagesOf({ port: plain.port, useSsl: true });
  assert.equal(wrong['tls']?.status, 'failed');
  assert.match(wrong['tls']?.hint ?? '', /enableStartTls/);
  const implicit = await serve(t, { tls: 'implicit' });
  const silent = await stagesOf({
    port: implicit.port,
    additionalProperties: [{ name: 'mail.smtp.timeout', value: '500' }],
  });
  assert.equal(silent['connect']?.code, 'target_timeout');
  assert.match(silent['connect']?.hint ?? '', /useSsl/);
});

for (const { tls, settings } of [
  { tls: 'starttls', settings: { enableStartTls: true } },
  { tls: 'implicit', settings: { useSsl: true } },
] as const) {
  const corners = [
    {
      title: 'unknown authority',
      server: createAuthority('Other CA').issue({ commonName: 'x', ips: ['127.0.0.1'] }),
      expected: 'certificate_untrusted',
    },
    {
      title: 'expired',
      server: authority.issue({ commonName: 'x', ips: ['127.0.0.1'], expired: true }),
      expected: 'certificate_expired',
    },
    {
      title: 'other name',
      server: authority.issue({ commonName: 'x', names: ['other.test'] }),
      expected: 'certificate_wrong_host',
    },
  ];
  for (const { title, server, expected } of corners)
    test(`refuses a certificate (${title}) over ${tls}, and takes it only when told to`, async (t) => {
      const { port, mails } = await serve(t, { tls, certificate: server, account });
      const refused = await stagesOf({ port, ...settings, ...logIn });
      assert.equal(refused['tls']?.code, expected, JSON.stringify(refused['tls']));
      assert.equal(refused['authenticate']?.status, 'skipped');

      const unverified = await stagesOf({ port, ...settings, ...logIn, verifyCertificate: false });
      assert.match(unverified['tls']?.detail ?? '', /NOT verified/);
      assert.ok(unverified.warnings.some((warning) => warning.includes('verifyCertificate')));

      for (const value of ['*', 'elsewhere.test 127.0.0.1']) {
        const additionalProperties = [{ name: 'mail.smtp.ssl.trust', value }];
        const { ctx, send } = open(t, { port, ...settings, ...logIn, additionalProperties });
        await send();
        assert.ok(ctx.warnings.some((warning) => warning.includes('mail.smtp.ssl.trust')));
      }
      const elsewhere = [{ name: 'mail.smtp.ssl.trust', value: 'elsewhere.test' }];
      await assert.rejects(
        open(t, { port, ...settings, additionalProperties: elsewhere }).send(),
        code(expected),
      );
      assert.equal(mails.length, 2);
    });
}

test('speaks the listed versions of TLS alone', async (t) => {
  const { port } = await serve(t, { tls: 'implicit' });
  const additionalProperties = [{ name: 'mail.smtp.ssl.protocols', value: 'TLSv1.2' }];
  const { tls } = await stagesOf({ port, useSsl: true, additionalProperties });
  assert.match(tls?.detail ?? '', /^TLSv1\.2,/);
});

test('a property without effect is reported by the test', async (t) => {
  const { port } = await serve(t, {});
  const { warnings } = await stagesOf({
    port,
    additionalProperties: [{ name: 'mail.debug', value: 'true' }],
  });
  assert.deepEqual(warnings, ['additionalProperties: mail.debug is kept but not used']);
});

test('the server hears the name of mail.smtp.localhost, else our address', async (t) => {
  const { port } = await serve(t, {});
  for (const [additionalProperties, name] of [
    [[{ name: 'mail.smtp.localhost', value: 'gateway.example.com' }], 'gateway.example.com'],
    [[], '[127.0.0.1]'],
  ] as const) {
    const tap = await startTap(t, port);
    await open(t, { port: tap.port, additionalProperties: [...additionalProperties] }).send();
    assert.equal(/^EHLO (.*)\r\n/.exec(tap.sent().toString())?.[1], name);
  }
});

test('mail.smtp.timeout ends a silence, mail.smtp.writetimeout a server that stops reading', async (t) => {
  let isSilent = false;
  const peer = await startPeer(t, (socket) => {
    socket.write('220 peer\r\n');
    socket.on('data', (bytes: Buffer) => {
      const line = bytes.toString();
      if (/^DATA/.test(line)) {
        socket.pause().write('354 go\r\n');
      } else if (!isSilent || /^EHLO/.test(line)) socket.write('250 ok\r\n');
    });
  });
  const timeouts = (readMs: number, writeMs: number) => [
    { name: 'mail.smtp.timeout', value: String(readMs) },
    { name: 'mail.smtp.writetimeout', value: String(writeMs) },
  ];
  // More than the systems' buffers take.
  const text = 'x'.repeat(70).concat('\n').repeat(400_000);
  const stalled = open(t, { port: peer.port, additionalProperties: timeouts(3_600_000, 700) });
  await assert.rejects(stalled.send({ text }), code('target_timeout'));
  isSilent = true;
  const silent = open(t, { port: peer.port, additionalProperties: timeouts(700, 3_600_000) });
  await assert.rejects(silent.send(), code('target_timeout'));
});

test('sends one real mail to addressToTest', async (t) => {
  const { port, mails } = await serve(t, {});
  const { operate } = await stagesOf({ port, addressToTest: 'someone@example.org' });
  assert.match(operate?.detail ?? '', /someone@example\.org was accepted: 250 /);
  assert.deepEqual(
    mails.map(({ to }) => to),
    [['someone@example.org']],
  );
});

test('some recipients refused: told; all refused: an error', async (t) => {
  const refused = {
    'gone@example.org': { code: 550, message: '5.1.1 User unknown' },
    'full@example.org': { code: 452, message: '4.2.2 Mailbox full' },
    'abroad@example.org': { code: 554, message: '5.7.1 Relay access denied' },
  };
  const { port, mails, sessions } = await serve(t, { refused });
  const { send } = open(t, { port });
  const { accepted, rejected, response } = await send({ to: ['gone@example.org', 'ok@example.org'] });
  assert.deepEqual({ accepted, rejected }, { accepted: ['ok@example.org'], rejected: ['gone@example.org'] });
  assert.match(response, /^250 /);
  await assert.rejects(send({ to: ['gone@example.org'] }), code('request_rejected'));
  await assert.rejects(send({ to: ['full@example.org'] }), code('quota_exceeded'));
  await assert.rejects(send({ to: ['abroad@example.org'] }), code('permission_denied'));
  await send();
  assert.deepEqual(
    mails.map(({ to }) => to),
    [['ok@example.org'], ['reader@example.org']],
  );
  assert.equal(sessions(), 1, 'a refused mail leaves the session usable');
});

test('a mail that is too large is refused before it is sent, and the next one passes', async (t) => {
  const { port, mails, sessions } = await serve(t, { maxBytes: 20_000 });
  const { send } = open(t, { port });
  await assert.rejects(send({ text: 'x'.repeat(30_000) }), code('message_too_large'));
  await send();
  assert.equal(mails.length, 1);
  assert.equal(sessions(), 1);
});

test('replies to the content are told apart', async (t) => {
  for (const [number, message, expected] of [
    [554, '5.6.0 Message content rejected', 'request_rejected'],
    [550, '5.7.1 Spam', 'permission_denied'],
    [451, '4.3.0 Try later', 'target_busy'],
    [452, '4.3.1 Insufficient system storage', 'quota_exceeded'],
    [552, '5.3.4 Message too big for system', 'message_too_large'],
    [552, '5.2.2 Mailbox full', 'quota_exceeded'],
    [421, '4.3.2 Shutting down', 'target_busy'],
  ] as const)
    await t.test(`${number} ${message}`, async (t) => {
      const { port } = await serve(t, { refuseMailWith: { code: number, message } });
      await assert.rejects(open(t, { port }).send(), code(expected));
    });
});

const injections: [string, Partial<MailInput>][] = [
  ['subject', { subject: 'Hello\r\nBcc: victim@example.org' }],
  ['subject', { subject: 'Hello\nX: 1' }],
  ['subject', { subject: 'Hello\u2028X: 1' }],
  ['to[0]', { to: ['a@example.org\r\nBcc: victim@example.org'] }],
  ['to[0]', { to: ['"x\r\nBcc: v" <a@example.org>'] }],
  ['to[0]', { to: ['a@example.org, victim@example.org'] }],
  ['to[0]', { to: ['list: a@example.org, victim@example.org;'] }],
  ['to[0]', { to: ['a@example.org> NOTIFY=SUCCESS <b@example.org'] }],
  ['cc[0]', { cc: ['a@example.org\nBcc: victim@example.org'] }],
  ['bcc[0]', { bcc: ['a@example.org\rX: 1'] }],
  ['replyTo', { replyTo: 'a@example.org\r\nBcc: victim@example.org' }],
  ['from', { from: 'a@example.org\r\nRCPT TO:<victim@example.org>' }],
  ['headers.X-A', { headers: { 'X-A': 'b\r\nBcc: victim@example.org' } }],
  ['headers.X-A??B', { headers: { 'X-A\r\nB': 'c' } }],
  ['headers.X-A:?B', { headers: { 'X-A: B': 'c' } }],
  ['headers.bCc', { headers: { bCc: 'victim@example.org' } }],
  ['headers.Subject', { headers: { Subject: 'other' } }],
  ['headers.Content-Type', { headers: { 'Content-Type': 'text/evil' } }],
  ['headers.Resent-To', { headers: { 'Resent-To': 'victim@example.org' } }],
  ['attachments[0].filename', { attachments: [{ filename: 'a\r\nX: 1', content: '' }] }],
  [
    'attachments[0].contentType',
    { attachments: [{ filename: 'a', content: '', contentType: 'text/plain\r\nX: 1' }] },
  ],
  [
    'attachments[0].contentType',
    { attachments: [{ filename: 'a', content: '', contentType: 'multipart/mixed' }] },
  ],
  ['attachments[0].content', { attachments: [{ filename: 'a', content: 'not base64!' }] }],
  ['to', { to: [] }],
];

test('security 11: what would break out of a header is refused by field, and nothing is dialled', async (t) => {
  const { port, sessions } = await serve(t, {});
  const { send } = open(t, { port });
  for (const [field, input] of injections)
    await assert.rejects(send(input), (error: unknown) => {
      assert.ok(error instanceof AppError);
      assert.equal(error.code, 'bad_request');
      assert.deepEqual(
        error.details.validationErrors?.map((fault) => fault.field),
        [field],
      );
      return true;
    });
  assert.equal(sessions(), 0);
});

test('security 11: a body of SMTP commands and dots arrives as it is', async (t) => {
  const { port, mails } = await serve(t, {});
  const text = 'first\r\n.\r\nMAIL FROM:<evil@example.org>\r\n..\r\n.dot\nlone line feed\rlone return\r\n';
  await open(t, { port }).send({ text });
  assert.equal(mails.length, 1);
  const body = mails[0]!.content.toString().split('\r\n\r\n').slice(1).join('\r\n\r\n');
  assert.equal(body.replace(/\r\n$/, ''), text.replace(/\r\n|\r|\n/g, '\r\n').replace(/\r\n$/, ''));
});

test('100 mails side by side share a few sessions, and each arrives once', async (t) => {
  const service = await serve(t, { tls: 'starttls', account });
  const { live, send } = open(t, { port: service.port, enableStartTls: true, ...logIn });
  const sent = await Promise.all(Array.from({ length: 100 }, (_, at) => send({ subject: `Mail ${at}` })));
  assert.equal(new Set(sent.map(({ messageId }) => messageId)).size, 100);
  const subjects = service.mails.map(({ content }) => /^Subject: (.*)\r$/m.exec(content.toString())?.[1]);
  assert.deepEqual(new Set(subjects), new Set(Array.from({ length: 100 }, (_, at) => `Mail ${at}`)));
  assert.equal(subjects.length, 100);
  assert.ok(service.sessions() <= 5, `${service.sessions()} sessions`);
  const figures = emailConnector.figures?.(live);
  assert.equal(figures?.['waiting'], 0);
  assert.equal(figures?.['idle'], figures?.['sessions']);
  assert.ok(service.mails.every(({ secure, user }) => secure && user === account.user));
});

test('a restart in the middle fails what was on the way, never twice, and the rest goes on', async (t) => {
  const service = await serve(t, { account });
  const { live, send } = open(t, { port: service.port, ...logIn });
  let restarted: Promise<void> | undefined;
  const outcomes: string[] = await Promise.all(
    Array.from({ length: 60 }, async (_, at) => {
      await sleep(at * 5);
      if (at === 30) restarted = service.restart();
      try {
        await send({ subject: `Mail ${at}` });
        return 'sent';
      } catch (error) {
        const failure = emailConnector.classify(error);
        assert.ok(failure.retryable || failure.code === 'connection_lost', failure.code);
        return failure.code;
      }
    }),
  );
  await restarted;
  const subjects = service.mails.map(({ content }) => /^Subject: (.*)\r$/m.exec(content.toString())?.[1]);
  assert.equal(new Set(subjects).size, subjects.length, 'no mail arrived twice');
  for (const [at, outcome] of outcomes.entries())
    if (outcome === 'sent') assert.ok(subjects.includes(`Mail ${at}`), `Mail ${at} was reported as sent`);
  await send({ subject: 'after' });
  assert.equal(emailConnector.figures?.(live)['waiting'], 0);
});

test('a session that the server ended while it was idle is replaced without an error', async (t) => {
  const service = await serve(t, {});
  const { send } = open(t, { port: service.port });
  await send();
  service.dropSockets();
  await send();
  assert.equal(service.mails.length, 2);
});

test('a mail is sent again only when nothing of it was taken', async (t) => {
  let dropAt = '';
  const drop = (at: string) => at === dropAt;
  const service = await serve(t, { drop });
  const { send } = open(t, { port: service.port });
  await send({ subject: 'first' });
  dropAt = 'content';
  await assert.rejects(send({ subject: 'perhaps' }), code('connection_lost'));
  dropAt = '';
  await send({ subject: 'third' });
  assert.equal(service.mails.length, 3, 'the server has it; another try would double it');

  let drops = 0;
  const hasty = await serve(t, {
    drop: (at) => at === 'sender' && hasty.mails.length === 1 && drops++ === 0,
  });
  const second = open(t, { port: hasty.port });
  await second.send();
  await second.send();
  assert.deepEqual([hasty.sessions(), hasty.mails.length], [2, 2]);
});

test('an aborted call that waits for a session leaves the queue', async (t) => {
  const service = await serve(t, {});
  const { live, send } = open(t, { port: service.port });
  const others = Array.from({ length: 20 }, () => send());
  const abort = new AbortController();
  const waiting = emailConnector.operations.send(live, mail, { signal: abort.signal });
  setImmediate(() => abort.abort());
  await assert.rejects(waiting, code('cancelled'));
  await Promise.all(others);
  assert.equal(service.mails.length, 20);
  assert.equal(emailConnector.figures?.(live)['waiting'], 0);
});

test('Postfix takes mail, plain, by STARTTLS and by implicit TLS, and delivers it whole', async (t) => {
  const postfix = await startOrSkip(t, () => startPostfix(certificate));
  if (!postfix) return;
  t.after(() => postfix.stop());
  const ways: [string, Partial<EmailConfig>][] = [
    ['plain', { port: postfix.port }],
    ['STARTTLS', { port: postfix.submissionPort, enableStartTls: true }],
    ['implicit', { port: postfix.smtpsPort, useSsl: true }],
  ];
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_, at) => (at * 7 + (at >> 8)) & 255));
  for (const [way, settings] of ways)
    await t.test(way, async (t) => {
      const overrides = { ...settings, defaultEncoding: 'ISO-8859-9', from: 'Şükrü Öz <robot@example.com>' };
      const stages = await stagesOf({ ...overrides, addressToTest: postfix.address });
      for (const stage of ['resolve', 'connect', 'operate'] as const)
        assert.equal(stages[stage].status, 'passed', JSON.stringify(stages));
      assert.equal(stages['tls']?.status, way === 'plain' ? 'skipped' : 'passed');

      const subject = `İğneli ıhlamur çiçeği, ${way}: bugün çok güzel bir gün, değil mi? Şüphesiz öyle.`;
      const { messageId, accepted, rejected } = await open(t, overrides).send({
        to: [`"Okur, Ağa" <${postfix.address}>`],
        bcc: ['reader@plugboard.test', 'hidden@elsewhere.test'],
        subject,
        text: 'Gövde: ığüşöç\n.\nson satır',
        headers: { 'X-Origin': 'çay' },
        attachments: [{ filename: 'özet.bin', content: bytes.toString('base64') }],
      });
      assert.deepEqual(accepted, [postfix.address]);
      assert.deepEqual(rejected, ['hidden@elsewhere.test'], 'no relay');

      const deadline = Date.now() + 30_000;
      let delivered: string | undefined;
      while (!delivered) {
        delivered = (await postfix.mailbox()).split(/^From /m).find((each) => each.includes(messageId));
        assert.ok(delivered || Date.now() < deadline, 'the mail did not arrive');
        if (!delivered) await sleep(50);
      }
      assert.doesNotMatch(delivered, /[^\x00-\x7f]|^Bcc:|hidden@elsewhere/im);
      const iso = new TextDecoder('iso-8859-9');
      const decoded = delivered
        .replace(/\r?\n[ \t]/g, ' ')
        .replace(/\?= =\?/g, '?==?')
        .replace(/=\?ISO-8859-9\?B\?([^?]*)\?=/g, (_, base64) => iso.decode(Buffer.from(base64, 'base64')));
      assert.ok(decoded.includes(`Subject: ${subject}`), decoded.slice(0, 2000));
      assert.ok(decoded.includes('From: Şükrü Öz <robot@example.com>'));
      assert.ok(decoded.includes(`To: Okur, Ağa <${postfix.address}>`));
      assert.ok(decoded.includes('X-Origin: çay'));
      const [, encoding, body] =
        /Content-Type: text\/plain; charset=ISO-8859-9\s+Content-Transfer-Encoding: (\S+)\s+([\s\S]*?)\n--/.exec(
          delivered,
        )!;
      const raw =
        encoding === 'base64'
          ? Buffer.from(body!, 'base64')
          : Buffer.from(
              body!
                .replace(/=\r?\n/g, '')
                .replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
              'latin1',
            );
      assert.equal(iso.decode(raw).replace(/\r\n/g, '\n').trimEnd(), 'Gövde: ığüşöç\n.\nson satır');
      const attached =
        /Content-Transfer-Encoding: base64\s+Content-Disposition: attachment;[\s\S]*?\n\n([A-Za-z0-9+/=\s]+)\n--/.exec(
          delivered.replace(/\r/g, ''),
        ) ??
        /Content-Disposition: attachment;[\s\S]*?\n\n([A-Za-z0-9+/=\s]+)\n--/.exec(
          delivered.replace(/\r/g, ''),
        );
      assert.ok(Buffer.from(attached?.[1] ?? '', 'base64').equals(bytes), 'the attachment is intact');
      assert.ok(
        delivered.includes(way === 'plain' ? 'with ESMTP id' : 'with ESMTPS id'),
        delivered.slice(0, 500),
      );
    });

  await t.test('submission demands TLS', async () => {
    const { operate } = await stagesOf({ port: postfix.submissionPort, addressToTest: postfix.address });
    assert.equal(operate?.code, 'permission_denied');
    assert.match(operate?.hint ?? '', /enableStartTls/);
  });
});

const limits: { title: string; config: string[]; text: string; expected: string; retryable: boolean }[] = [
  {
    title: 'a mail beyond its message_size_limit is too large',
    config: ['message_size_limit = 60000'],
    text: 'x '.repeat(50_000),
    expected: 'message_too_large',
    retryable: false,
  },
  {
    title: 'a queue without room takes none for now',
    config: ['message_size_limit = 60000', 'queue_minfree = 9000000000000000'],
    text: 'small',
    expected: 'quota_exceeded',
    retryable: true,
  },
];
for (const { title, config: lines, text, expected, retryable } of limits)
  test(`Postfix: ${title}`, async (t) => {
    const postfix = await startOrSkip(t, () => startPostfix(certificate, { config: lines }));
    if (!postfix) return;
    t.after(() => postfix.stop());
    const { send } = open(t, { port: postfix.port });
    await assert.rejects(send({ to: [postfix.address], text }), (error) => {
      assert.equal(emailConnector.classify(error).retryable, retryable);
      return code(expected)(error);
    });
    if (retryable) return;
    const { accepted } = await send({ to: [postfix.address], text: 'small' });
    assert.deepEqual(accepted, [postfix.address]);
  });
