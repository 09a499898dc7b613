import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import forge from 'node-forge';
import { type Answer, type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { seededRandom } from '../harness/seeded-random.ts';
import { createAuthority } from '../services/certificates.ts';

const base = '/apiops/projects/MyProject';
const authority = createAuthority();
const client = authority.issue({ commonName: 'client', client: true });
const password = 'the-password-of-it';

/** A PKCS12 file whose count of rounds for the MAC is what is given, whatever it was made with. */
function pkcs12(macRounds?: number): Buffer {
  const asn1 = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(client.keyPem),
    [forge.pki.certificateFromPem(client.certPem)],
    password,
    { friendlyName: 'client', algorithm: '3des', count: 1 },
  );
  if (macRounds !== undefined) {
    const mac = (asn1.value as forge.asn1.Asn1[])[2]!;
    const count = Buffer.alloc(4);
    count.writeInt32BE(macRounds);
    (mac.value as forge.asn1.Asn1[])[2]!.value = count.toString('binary');
  }
  return Buffer.from(forge.asn1.toDer(asn1).getBytes(), 'binary');
}

describe('bad keystores, certificates and variables through the API', () => {
  let app: Plugboard;
  before(async () => {
    app = await startPlugboard({ projects: ['MyProject'], deployTimeoutMs: 10_000 });
  });
  after(() => app.stop());

  function isRefusal(answer: Answer, what: string, ...statuses: number[]) {
    assert.ok(
      (statuses.length > 0 ? statuses : [400]).includes(answer.status),
      `${what}: ${answer.status} ${answer.text.slice(0, 300)}`,
    );
    assert.equal(typeof answer.body.error, 'string', what);
    assert.ok(answer.body.error_description.length > 5, what);
    assert.ok(!answer.text.includes(password), what);
    assert.ok(!/PRIVATE KEY-----\\n|\bat .*\.ts:\d/.test(answer.text), what);
    assert.ok(answer.text.length < 4000, `${what}: an answer of ${answer.text.length} characters`);
  }
  async function nothingStored() {
    for (const kind of ['keystores', 'certificates', 'environmentVariables']) {
      const { body } = await app.call('GET', `${base}/${kind}/`);
      assert.equal(body.resultCount, 0, kind);
    }
  }
  const store = (name: string, entry: Record<string, unknown>) =>
    app.call('POST', `${base}/keystores/${name}/`, {
      keyStoreEnvironmentList: [{ environmentName: 'production', password, ...entry }],
    });

  test('files that are cut off, random, empty or of another kind', async () => {
    const whole = pkcs12();
    const random = seededRandom(7);
    const noise = Buffer.from(Array.from({ length: 3000 }, () => random.below(256)));
    const files: [string, Buffer | string][] = [
      ...Array.from({ length: 20 }, (_, at): [string, Buffer] => [
        `cut after ${at}/20`,
        whole.subarray(0, Math.floor((whole.length * at) / 20)),
      ]),
      ['noise', noise],
      ['noise behind a beginning', Buffer.concat([whole.subarray(0, 60), noise])],
      ['JKS magic and noise', Buffer.concat([Buffer.from('feedfeed00000002', 'hex'), noise])],
      ['JKS of many entries', Buffer.from('feedfeed000000027fffffff', 'hex')],
      ['zeros', Buffer.alloc(1000)],
      ['one MiB of zeros', Buffer.alloc(1024 * 1024)],
      ['more than one MiB', Buffer.alloc(1024 * 1024 + 1, 0x30)],
      ['one MiB that opens sequences', Buffer.alloc(1024 * 1024, Buffer.from('3080', 'hex'))],
      ['one MiB of PEM beginnings', Buffer.alloc(1024 * 1024, '-----BEGIN CERTIFICATE-----\n')],
      ['a public key', Buffer.from(client.keyPem.replaceAll('PRIVATE', 'PUBLIC'))],
      ['no base64', '§§§'],
      ['a data URI', `data:application/x-pkcs12;base64,${whole.toString('base64')}`],
      ['nothing', ''],
      ['blanks', '   '],
    ];
    let at = 0;
    for (const type of ['JKS', 'PKCS12', 'PEM'])
      for (const [what, bytes] of files) {
        const file = typeof bytes === 'string' ? bytes : bytes.toString('base64');
        isRefusal(await store(`bad-${at++}`, { type, file }), `${type}, ${what}`);
      }
    await nothingStored();
  });

  test('more bytes than a body may have', async () => {
    const file = Buffer.alloc(9 * 1024 * 1024).toString('base64');
    isRefusal(await store('large', { type: 'JKS', file }), 'keystore', 413);
    const pemEncodedFile = client.certPem.repeat(2000);
    isRefusal(
      await app.call('POST', `${base}/certificates/large/`, { pemEncodedFile }),
      'certificate',
      400,
      413,
    );
    for (const globalValue of ['x'.repeat(1024 * 1024), 'x'.repeat(65_537), 'ü\u0000'])
      isRefusal(
        await app.call('POST', `${base}/environmentVariables/LARGE/`, { global: true, globalValue }),
        `variable of ${globalValue.length}`,
        400,
        413,
      );
    const good = pkcs12().toString('base64');
    for (const wrong of ['x'.repeat(1024 * 1024), 'x'.repeat(1025), `${password}\u0000`])
      isRefusal(await store('large', { type: 'PKCS12', file: good, password: wrong }), 'password', 400);
    isRefusal(await store('large', { type: 'PKCS12', file: good, alias: 'x'.repeat(256) }), 'alias');
    await nothingStored();
  });

  test('counts of rounds that would keep a processor busy: others are answered meanwhile', async () => {
    for (const rounds of [0x7fff_ffff, 5_000_001, 0, -1])
      isRefusal(
        await store('slow', { type: 'PKCS12', file: pkcs12(rounds).toString('base64') }),
        `${rounds} rounds`,
      );
    let isOver = false;
    // As much as is allowed.
    const slow = store('slow', { type: 'PKCS12', file: pkcs12(2_400_000).toString('base64') }).finally(() => {
      isOver = true;
    });
    for (let at = 0; at < 3; at++) {
      assert.equal((await app.call('GET', `${base}/keystores/`)).status, 200);
      assert.equal(isOver, false, 'the other request was answered while this one was at work');
    }
    isRefusal(await slow, 'a MAC that does not fit');
    await nothingStored();
  });

  test('private keys where certificates belong', async () => {
    const { keyPem, certPem } = client;
    for (const pemEncodedFile of [
      keyPem,
      keyPem + certPem,
      certPem + keyPem,
      keyPem.replaceAll('RSA PRIVATE', 'ENCRYPTED PRIVATE'),
      certPem.replaceAll('CERTIFICATE', 'RSA PRIVATE KEY'),
    ]) {
      const answer = await app.call('POST', `${base}/certificates/key/`, { pemEncodedFile });
      isRefusal(answer, pemEncodedFile.slice(0, 40));
      assert.match(answer.text, /private key/i);
      for (const line of keyPem.split('\n').slice(1, -2)) assert.ok(!answer.text.includes(line.trim()));
    }
    await nothingStored();
  });

  test('names with odd characters', async () => {
    const bodies: Record<string, Record<string, unknown>> = {
      keystores: {
        keyStoreEnvironmentList: [
          {
            environmentName: 'production',
            type: 'PEM',
            password: '',
            file: Buffer.from(client.certPem).toString('base64'),
          },
        ],
      },
      certificates: { pemEncodedFile: client.certPem },
      environmentVariables: { global: true, globalValue: 'x' },
    };
    const bad = ['', ' ', ' a', '-a', '.', '..', '../x', 'a/b', 'a\\b', 'a\nb', 'a\u0000b', '😀', '\u202ea'];
    for (const [kind, body] of Object.entries(bodies)) {
      for (const name of [...bad, 'x'.repeat(256), '$A', '${A}', "a'; drop table keystores; --"]) {
        isRefusal(await app.call('POST', `${base}/${kind}/`, { ...body, name }), `${kind} ${name}`);
        // As a path, some of them are another path.
        const inPath = await app.call('POST', `${base}/${kind}/${encodeURIComponent(name)}/`, body);
        if (name !== '') isRefusal(inPath, `${kind} in the path, ${name}`, 400, 404);
      }
      for (const name of [1, null, ['a'], { a: 1 }, true])
        isRefusal(await app.call('POST', `${base}/${kind}/`, { ...body, name }), `${kind} ${name}`);
      isRefusal(await app.call('POST', `${base}/${kind}/%E0%A4%A/`, body), 'a broken escape', 400, 404);
    }
    await nothingStored();
    // Names that every object of JavaScript knows are names like any other.
    for (const name of ['constructor', 'toString', 'hasOwnProperty', '__proto__']) {
      for (const [kind, body] of Object.entries(bodies)) {
        if (kind !== 'environmentVariables' && name === '__proto__') continue;
        const missing = await app.call('GET', `${base}/${kind}/${name}/`);
        assert.equal(missing.status, 404, `${kind} ${name}`);
        const connection = {
          name: 'odd',
          type: 'email',
          host: '127.0.0.1',
          ...(kind === 'keystores' ? { keyStoreName: name, trustStoreName: name } : {}),
          ...(kind === 'certificates' ? { certificateName: name } : {}),
          ...(kind === 'environmentVariables' ? { host: `\${${name}}` } : {}),
          useSsl: true,
        };
        const early = await app.call('POST', `${base}/connections/odd/`, connection);
        if (kind === 'environmentVariables') isRefusal(early, `a variable ${name} that is not there`);
        else {
          assert.equal(early.status, 200, early.text);
          assert.equal(early.body.deploymentResult.success, false, early.text);
          assert.match(early.text, new RegExp(`'${name}'`));
        }
        const made = await app.call('POST', `${base}/${kind}/${name}/`, body);
        assert.equal(made.status, 200, `${kind} ${name}: ${made.text}`);
        if (kind === 'environmentVariables') {
          const late = await app.call('POST', `${base}/connections/odd/`, connection);
          assert.equal(late.body.deploymentResult?.success, true, late.text);
        }
        assert.equal((await app.call('DELETE', `${base}/${kind}/${name}/`)).status, 409);
        assert.equal((await app.call('DELETE', `${base}/connections/odd/`)).status, 200);
        assert.equal((await app.call('DELETE', `${base}/${kind}/${name}/`)).status, 200);
      }
    }
    await nothingStored();
  });

  test('forms of every shape', async () => {
    const send = async (contentType: string, body: string | Buffer): Promise<Answer> => {
      const response = await fetch(`${app.url}${base}/certificates/`, {
        method: 'POST',
        headers: { authorization: `Bearer ${app.token}`, 'content-type': contentType },
        body,
      });
      const text = await response.text();
      return { status: response.status, text, body: JSON.parse(text), headers: response.headers };
    };
    const mark = '----FormBoundary7MA4YWxkTrZu0gW';
    const type = `multipart/form-data; boundary=${mark}`;
    const part = (headers: string, content: string) => `--${mark}\r\n${headers}\r\n\r\n${content}\r\n`;
    const field = (name: string, content: string) =>
      part(`Content-Disposition: form-data; name="${name}"`, content);
    const file = (content: string, filename = 'ca.pem') =>
      part(
        `Content-Disposition: form-data; name="pemEncodedFile"; filename="${filename}"\r\nContent-Type: application/x-pem-file`,
        content,
      );
    const name = field('certificateName', 'form');
    const end = `--${mark}--\r\n`;
    const shapes: [string, string, string | Buffer][] = [
      ['no boundary', 'multipart/form-data', name + file(client.certPem) + end],
      ['an empty boundary', 'multipart/form-data; boundary=', name + file(client.certPem) + end],
      ['another boundary', 'multipart/form-data; boundary=y', name + file(client.certPem) + end],
      ['no end', type, name + file(client.certPem).slice(0, -100)],
      ['only an end', type, end],
      ['nothing', type, ''],
      ['no name', type, file(client.certPem) + end],
      ['no file', type, name + end],
      ['an empty file', type, name + file('') + end],
      ['a private key', type, name + file(client.keyPem) + end],
      ['a field twice', type, name + name + file(client.certPem) + end],
      ['two files', type, name + file(client.certPem) + file(client.certPem) + end],
      ['an unknown field', type, name + field('surprise', '1') + file(client.certPem) + end],
      ['__proto__', type, name + field('__proto__', '{"a":1}') + file(client.certPem) + end],
      [
        'a part without a name',
        type,
        name + part('Content-Disposition: form-data', 'x') + file(client.certPem) + end,
      ],
      ['a part without headers', type, `${name}--${mark}\r\n\r\nx\r\n${file(client.certPem)}${end}`],
      ['an unknown environment', type, name + field('environmentList', 'mars') + file(client.certPem) + end],
      [
        'bytes that are no text',
        type,
        Buffer.concat([Buffer.from(name), Buffer.from(file('\xff\xfe\x00'), 'latin1'), Buffer.from(end)]),
      ],
      ['headers without an end', type, `--${mark}\r\n${'A: b\r\n'.repeat(20_000)}`],
      ['many fields', type, Array.from({ length: 5000 }, (_, at) => field(`f${at}`, '1')).join('') + end],
      ['three MiB', type, name + file('x'.repeat(3 * 1024 * 1024)) + end],
      [
        'one MiB in a name',
        type,
        field('certificateName', 'x'.repeat(1024 * 1024)) + file(client.certPem) + end,
      ],
      ['JSON that says it is a form', type, JSON.stringify({ name: 'form', pemEncodedFile: client.certPem })],
      ['a form that says it is JSON', 'application/json', name + file(client.certPem) + end],
      ['another type', 'application/x-www-form-urlencoded', 'name=form'],
      ['mixed', `multipart/mixed; boundary=${mark}`, name + file(client.certPem) + end],
    ];
    for (const [what, contentType, body] of shapes)
      isRefusal(await send(contentType, body), what, 400, 413, 415);
    await nothingStored();
    const odd = await send(
      `Multipart/Form-Data; boundary="${mark}"`,
      name + file(client.certPem, '../../etc/passwd') + end,
    );
    assert.equal(odd.status, 200, odd.text);
    assert.equal((await app.call('DELETE', `${base}/certificates/form/`)).status, 200);
  });

  test('the log tells of no fault of ours', () => {
    for (const line of app.log) {
      assert.ok(!/"level":[56]0/.test(line), line);
      assert.ok(!line.includes(password));
    }
  });
});
