import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import iconv from 'iconv-lite';
import { createContext } from '../../../test/contract/connector-context.ts';
import { AppError } from '../../errors.ts';
import { charsetFor, encodeWords, findCharset, utf8 } from './mail-charset.ts';
import { composeMail, type MailInput } from './mail-message.ts';
import { adviceFor, classifySmtpError } from './smtp-errors.ts';
import { parseReply } from './smtp-reply.ts';
import { type EmailConfig, readSettings } from './smtp-settings.ts';

const base: EmailConfig = {
  type: 'email',
  name: 'mail',
  deployToWorker: true,
  enabled: true,
  environments: [],
  labels: {},
  circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
  host: 'smtp.example.com',
  port: 587,
  enableStartTls: false,
  useSsl: false,
  auth: false,
  defaultEncoding: 'UTF-8',
  additionalProperties: [],
  verifyCertificate: true,
};

function settings(overrides: Partial<EmailConfig>, properties: Record<string, string> = {}) {
  const ctx = createContext({ signal: new AbortController().signal });
  const additionalProperties = Object.entries(properties).map(([name, value]) => ({ name, value }));
  return { ...readSettings({ ...base, additionalProperties, ...overrides }, ctx), warnings: ctx.warnings };
}

const refusal = (expected: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof AppError);
  assert.equal(error.code, expected);
  assert.match(error.message, pattern);
  return true;
};

describe('settings', () => {
  test('transport follows useSsl, port 465 and enableStartTls', () => {
    assert.equal(settings({}).transport, 'plain');
    assert.equal(settings({ enableStartTls: true }).transport, 'starttls');
    assert.equal(settings({ useSsl: true }).transport, 'implicit');
    assert.equal(settings({ port: 465 }).transport, 'implicit');
  });

  test('timeouts come from JavaMail properties, 0 stands for none', () => {
    const { connectTimeoutMs, readTimeoutMs, writeTimeoutMs, deliveryTimeoutMs } = settings({});
    assert.deepEqual(
      [connectTimeoutMs, readTimeoutMs, writeTimeoutMs, deliveryTimeoutMs],
      [10_000, 10_000, 10_000, 60_000],
    );
    const set = settings(
      {},
      { 'mail.smtp.connectiontimeout': '1500', 'mail.smtp.timeout': '0', 'mail.smtp.writetimeout': ' 7 ' },
    );
    assert.deepEqual([set.connectTimeoutMs, set.readTimeoutMs, set.writeTimeoutMs], [1500, 2 ** 31 - 1, 7]);
    assert.throws(
      () => settings({}, { 'mail.smtp.timeout': '10s' }),
      refusal('invalid_configuration', /mail\.smtp\.timeout/),
    );
  });

  test('TLS versions become a range; weak and unknown ones are remarked on', () => {
    const tls = { enableStartTls: true };
    assert.equal(settings(tls).tls.minVersion, 'TLSv1.2');
    const listed = settings(tls, { 'mail.smtp.ssl.protocols': 'SSLv3 TLSv1.1 TLSv1.2' });
    assert.deepEqual([listed.tls.minVersion, listed.tls.maxVersion], ['TLSv1.1', 'TLSv1.2']);
    assert.equal(listed.warnings.length, 2, listed.warnings.join());
    assert.throws(
      () => settings(tls, { 'mail.smtp.ssl.protocols': 'SSLv3' }),
      refusal('invalid_configuration', /ssl\.protocols/),
    );
  });

  test('a trusted host is not verified, any other is', () => {
    const tls = { enableStartTls: true };
    assert.notEqual(settings(tls).tls.rejectUnauthorized, false);
    assert.equal(settings(tls, { 'mail.smtp.ssl.trust': '*' }).tls.rejectUnauthorized, false);
    const named = settings(tls, { 'mail.smtp.ssl.trust': 'a.test SMTP.example.com' });
    assert.equal(named.tls.rejectUnauthorized, false);
    assert.match(named.warnings.join(), /ssl\.trust/);
    assert.notEqual(settings(tls, { 'mail.smtp.ssl.trust': 'a.test' }).tls.rejectUnauthorized, false);
  });

  test('mechanisms keep their order; a password without TLS is remarked on', () => {
    const auth = { auth: true, username: 'u', password: 'p' };
    const listed = settings(
      { ...auth, enableStartTls: true },
      { 'mail.smtp.auth.mechanisms': 'xoauth2 login PLAIN' },
    );
    assert.deepEqual(listed.credentials?.mechanisms, ['LOGIN', 'PLAIN']);
    assert.match(listed.warnings.join(), /XOAUTH2/);
    assert.deepEqual(settings({ ...auth, useSsl: true }).credentials?.mechanisms, [
      'PLAIN',
      'LOGIN',
      'CRAM-MD5',
    ]);
    assert.match(settings(auth).warnings.join(), /without TLS/);
    assert.throws(
      () => settings(auth, { 'mail.smtp.auth.mechanisms': 'NTLM' }),
      refusal('invalid_configuration', /mechanisms/),
    );
  });

  test('trust material that does not exist refuses the configuration', () => {
    assert.throws(
      () => settings({ enableStartTls: true, trustStoreName: 'none' }),
      refusal('missing_reference', /none/),
    );
  });
});

describe('character sets', () => {
  test('knows the names that Java writes, and refuses what mail cannot use', () => {
    assert.equal(findCharset('utf8'), utf8);
    assert.equal(findCharset('ISO8859_9').name, 'ISO-8859-9');
    assert.equal(findCharset('windows-1254').name, 'windows-1254');
    assert.throws(() => findCharset('UTF-16'), refusal('invalid_configuration', /cannot be used/));
    assert.throws(() => findCharset('klingon'), refusal('invalid_configuration', /not known/));
  });

  test('what a set lacks is sent in UTF-8 instead of question marks', () => {
    const turkish = findCharset('ISO-8859-9');
    assert.deepEqual(charsetFor('ığüşöç', turkish).bytes, Buffer.from([0xfd, 0xf0, 0xfc, 0xfe, 0xf6, 0xe7]));
    assert.equal(charsetFor('привет', turkish).charset, utf8);
  });

  test('any text survives its encoded-words, each at most 75 characters long', () => {
    for (const name of ['UTF-8', 'ISO-8859-9', 'Shift_JIS', 'GB18030'])
      fc.assert(
        fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }), (text) => {
          const words = encodeWords(text, findCharset(name)).split(' ');
          const decoded = words.map((word) => {
            const [, charset, base64] = /^=\?([^?]+)\?B\?([^?]*)\?=$/.exec(word)!;
            assert.ok(word.length <= 75);
            return iconv.decode(Buffer.from(base64!, 'base64'), charset!, { stripBOM: false });
          });
          assert.equal(decoded.join(''), text);
        }),
        { numRuns: 100 },
      );
  });
});

async function compose(input: Partial<MailInput>, sender: string | undefined = 'robot@example.com') {
  const { bytes, envelope } = await composeMail(
    { to: ['a@example.org'], subject: 'Hello', ...input },
    { sender, charset: utf8 },
  );
  const text = bytes.toString();
  const head = text.slice(0, text.indexOf('\r\n\r\n'));
  const headers = head
    .replace(/\r\n[ \t]/g, ' ')
    .split('\r\n')
    .map((line) => line.split(/: ?/, 1)[0]!.toLowerCase());
  return { text, head, headers, envelope };
}

describe('messages', () => {
  test('copies in secret are in the envelope alone, each recipient once', async () => {
    const { text, envelope } = await compose({
      cc: ['B <b@example.org>', 'a@example.org'],
      bcc: ['secret@example.org'],
    });
    assert.deepEqual(envelope.to, ['a@example.org', 'b@example.org', 'secret@example.org']);
    assert.doesNotMatch(text, /secret@|^bcc/im);
    const hidden = await compose({ to: [], bcc: ['secret@example.org'] });
    assert.match(hidden.head, /^To: undisclosed-recipients:;$/m);
    assert.doesNotMatch(hidden.text, /secret@/);
  });

  test('text and HTML are alternatives, answers go where replyTo says, an attachment has its type', async () => {
    const { text, head } = await compose({
      text: 'plain words',
      html: '<b>rich words</b>',
      replyTo: 'Desk <desk@example.org>',
      from: 'Other <other@example.com>',
      attachments: [{ filename: 'a.pdf', content: 'JVBERg==', contentType: 'application/pdf' }],
    });
    assert.match(head, /^Reply-To: Desk <desk@example\.org>\r$/m);
    assert.match(head, /^From: Other <other@example\.com>\r$/m);
    assert.match(text, /Content-Type: multipart\/alternative/);
    const [, words] = /text\/plain; charset=UTF-8[\s\S]*?\r\n\r\n([\s\S]*?)\r\n--/i.exec(text) ?? [];
    assert.equal(words, 'plain words');
    const [, rich] = /text\/html; charset=UTF-8[\s\S]*?\r\n\r\n([\s\S]*?)\r\n--/i.exec(text) ?? [];
    assert.equal(rich, '<b>rich words</b>');
    assert.match(text, /Content-Type: application\/pdf; name=a\.pdf/);
    const only = await compose({ html: '<i>alone</i>' });
    assert.match(only.head, /Content-Type: text\/html; charset=UTF-8/i);
  });

  test('names are quoted or encoded, domains go as ASCII', async () => {
    const { head, envelope } = await compose({
      from: '"O\'Neil, \\"Bob\\"" <bob@bücher.example>',
      to: ['a@bücher.example'],
    });
    assert.match(head, /^From: "O'Neil, \\"Bob\\"" <bob@xn--bcher-kva\.example>\r$/m);
    assert.deepEqual(envelope, { from: 'bob@xn--bcher-kva.example', to: ['a@xn--bcher-kva.example'] });
  });

  test('text that looks encoded stays what it is', async () => {
    const { head } = await compose({ subject: '=?utf-8?Q?forged?=' });
    const [, base64] = /^Subject: =\?UTF-8\?B\?([^?]+)\?=\r$/m.exec(head)!;
    assert.equal(Buffer.from(base64!, 'base64').toString(), '=?utf-8?Q?forged?=');
  });

  test('needs a sender and a recipient, and names every field at fault', async () => {
    await assert.rejects(
      composeMail({ to: [], subject: 'a\nb' }, { sender: undefined, charset: utf8 }),
      (error: unknown) => {
        assert.ok(error instanceof AppError);
        assert.deepEqual(
          error.details.validationErrors?.map(({ field }) => field),
          ['to', 'from', 'subject'],
        );
        return true;
      },
    );
  });

  test('security 11: no input adds a header, breaks a line or exceeds one', async () => {
    const text = fc.string({
      unit: fc.constantFrom(
        'a',
        ' ',
        '\r',
        '\n',
        ':',
        '<',
        '>',
        '@',
        '"',
        '\\',
        ',',
        '=?',
        '?=',
        'ş',
        '\0',
        '\t',
        '.',
      ),
    });
    await fc.assert(
      fc.asyncProperty(text, text, text, text, async (subject, name, value, filename) => {
        const input = {
          subject,
          to: [`${name} <a@example.org>`],
          headers: { 'X-Value': value },
          attachments: [{ filename, content: '' }],
        };
        let composed: Awaited<ReturnType<typeof compose>>;
        try {
          composed = await compose(input);
        } catch (error) {
          assert.ok(error instanceof AppError && error.code === 'bad_request', `${error}`);
          return;
        }
        const allowed = [
          'from',
          'to',
          'subject',
          'x-value',
          'message-id',
          'date',
          'mime-version',
          'content-type',
          'content-transfer-encoding',
          'content-disposition',
        ];
        for (const header of composed.headers) assert.ok(allowed.includes(header), header);
        assert.equal(new Set(composed.headers).size, composed.headers.length);
        assert.deepEqual(composed.envelope.to, ['a@example.org']);
        assert.doesNotMatch(composed.head, /[^\r]\n|\r[^\n]|[^\x20-\x7e\t\r\n]|.{999}/);
      }),
      { numRuns: 300 },
    );
  });
});

describe('replies', () => {
  test('a reply of several lines is complete at its last', () => {
    assert.equal(parseReply('250-mail'), undefined);
    assert.equal(parseReply('250-mail\r\n250-AU'), undefined);
    assert.deepEqual(parseReply('250-mail\r\n250 AUTH PLAIN\r\n')?.lines, ['mail', 'AUTH PLAIN']);
  });

  test('anything else is a protocol error, with a hint where it is known', () => {
    for (const received of ['HTTP/1.1 400 Bad Request\r\n', '\x15\x03\x01\x00\x02\x02\x46', '220', 'garbage'])
      if (received === '220') assert.equal(parseReply(received), undefined);
      else assert.throws(() => parseReply(received), refusal('protocol_error', /does not speak SMTP/));
    assert.throws(
      () => parseReply('220 ready\r\n250 injected\r\n'),
      refusal('protocol_error', /more than one/),
    );
    assert.throws(() => parseReply(`250-${'x'.repeat(70_000)}`), refusal('protocol_error', /SMTP/));
  });
});

describe('errors', () => {
  const failed = (fields: Record<string, unknown>) =>
    classifySmtpError(Object.assign(new Error(String(fields['response'] ?? 'failed')), fields));

  test('every reply has its code', () => {
    for (const [code, response, expected] of [
      ['EAUTH', '535 5.7.8 bad credentials', 'authentication_failed'],
      ['EAUTH', '534 5.7.9 app password required', 'authentication_failed'],
      ['EAUTH', '454 4.7.0 later', 'target_busy'],
      ['EENVELOPE', '530 5.7.0 Authentication required', 'authentication_failed'],
      ['EENVELOPE', '530 5.7.0 Must issue a STARTTLS command first', 'permission_denied'],
      ['EENVELOPE', '421 4.3.2 shutting down', 'target_busy'],
      ['EENVELOPE', '450 4.2.0 greylisted', 'target_busy'],
      ['EENVELOPE', '452 4.5.3 too many recipients', 'quota_exceeded'],
      ['EENVELOPE', '550 5.1.1 unknown user', 'request_rejected'],
      ['EENVELOPE', '554 5.7.1 Relay access denied', 'permission_denied'],
      ['EMESSAGE', '552 5.3.4 too big', 'message_too_large'],
      ['EMESSAGE', '552 mailbox full', 'quota_exceeded'],
      ['EMESSAGE', '554 rejected', 'request_rejected'],
    ] as const)
      assert.equal(
        failed({ code, response, responseCode: Number(response.slice(0, 3)) }).code,
        expected,
        response,
      );
  });

  test('failures without a reply, too', () => {
    for (const [fields, expected] of [
      [{ code: 'ETIMEDOUT', timeoutType: 'SOCKET_TIMEOUT' }, 'target_timeout'],
      [{ code: 'ETIMEDOUT' }, 'connect_timeout'],
      [{ code: 'ESOCKET', originalCode: 'ECONNRESET' }, 'connection_lost'],
      [{ code: 'ECONNRESET' }, 'connection_lost'],
      [{ code: 'ECONNECTION' }, 'connection_lost'],
      [{ code: 'EPROTOCOL' }, 'protocol_error'],
      [{ code: 'ETLS' }, 'tls_failed'],
      [{ code: 'ESOCKET', originalCode: 'ERR_SSL_WRONG_VERSION_NUMBER' }, 'tls_not_offered'],
      [{ code: 'ESOCKET', originalCode: 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE' }, 'tls_failed'],
      [{}, 'target_error'],
    ] as const)
      assert.equal(failed(fields).code, expected, JSON.stringify(fields));
    assert.equal(classifySmtpError('text').code, 'target_error');
    const own = new AppError('cancelled');
    assert.equal(classifySmtpError(own), own);
  });

  test('advice fits the server and the port', () => {
    const refused = failed({ code: 'EAUTH', response: '535 5.7.8 no', responseCode: 535 });
    assert.match(adviceFor(refused, settings({ host: 'smtp.gmail.com' })) ?? '', /app password/);
    assert.match(adviceFor(new AppError('connect_timeout'), settings({ port: 25 })) ?? '', /block port 25/);
    assert.match(
      adviceFor(new AppError('tls_not_offered'), settings({ useSsl: true })) ?? '',
      /enableStartTls/,
    );
    assert.match(adviceFor(new AppError('target_timeout'), settings({ port: 2465 })) ?? '', /useSsl/);
  });
});
