import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { curlCommand } from '../../console/src/connection-form/curl-command.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import type { ConnectionType } from '../../src/contract/connection-type.ts';
import { publishedSchema } from '../../src/contract/json-schema.ts';

const run = promisify(execFile);
const published = (type: keyof typeof definitions) =>
  JSON.parse(JSON.stringify(publishedSchema(definitions[type] as unknown as ConnectionType)));

/** What a request that the shell makes of a text carries. */
async function sentBy(makeText: (url: string) => string, env: Record<string, string>) {
  let received: { method: string; url: string; authorization: string; body: string } | undefined;
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received = {
      method: request.method!,
      url: request.url!,
      authorization: request.headers.authorization!,
      body,
    };
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await run('sh', ['-c', makeText(url)], { env: { PATH: process.env['PATH']!, ...env } });
  } finally {
    server.close();
  }
  return received!;
}

describe('a request as curl', () => {
  const nasty = 'p\'a"s\\s$HOME `id` \\n\t%s end\n';
  const description = 'it\'s $(touch /tmp/never) `id` \\ "quoted" %d ! @secret';

  it('sends exactly the body, whatever stands in it, and has no secret in its text', async () => {
    const body = {
      type: 'email',
      name: "Mail ' $X",
      host: 'smtp.example.com',
      description,
      auth: true,
      username: 'u',
      password: nasty,
      additionalProperties: [
        { name: 'mail.smtp.localhost', value: 'here' },
        { name: 'my.password', value: 'hunter2 too' },
      ],
    };
    let text = '';
    const received = await sentBy(
      (url) => {
        text = curlCommand({ method: 'POST', url: `${url}/a%20b/?x=1&y='2'`, body }, published('email'));
        return text;
      },
      {
        PLUGBOARD_TOKEN: 'the-token',
        SECRET_PASSWORD: nasty,
        SECRET_ADDITIONAL_PROPERTIES_1_VALUE: 'hunter2 too',
      },
    );
    assert.ok(!text.includes('hunter2') && !text.includes('the-token') && !text.includes('a"s'));
    assert.deepEqual(JSON.parse(received.body), body);
    assert.equal(received.method, 'POST');
    assert.equal(received.authorization, 'Bearer the-token');
  });

  it('leaves references and kept secrets as they are, and takes a URL with a password whole', async () => {
    const kept = { type: 'email', name: 'a', host: 'h', password: null };
    assert.ok(
      curlCommand({ method: 'PUT', url: 'http://x/', body: kept }, published('email')).includes('null'),
    );
    const reference = { ...kept, password: '${SMTP_PASSWORD}' };
    const text = curlCommand({ method: 'PUT', url: 'http://x/', body: reference }, published('email'));
    assert.ok(text.includes('${SMTP_PASSWORD}') && !text.includes('SECRET_'));
    const url = 'https://me:s3cret@example.com/hook';
    const webhook = { type: 'webhook', name: 'w', fullUrl: url };
    const received = await sentBy(
      (target) => {
        const made = curlCommand({ method: 'PUT', url: target, body: webhook }, published('webhook'));
        assert.ok(!made.includes('s3cret'));
        return made;
      },
      { PLUGBOARD_TOKEN: 't', SECRET_FULL_URL: url },
    );
    assert.deepEqual(JSON.parse(received.body), webhook);
    const masked = { ...webhook, fullUrl: 'https://***:***@example.com/hook' };
    assert.ok(
      !curlCommand({ method: 'PUT', url: 'http://x/', body: masked }, published('webhook')).includes(
        'SECRET_',
      ),
    );
  });

  it('stops where a variable is not set', async () => {
    const body = { type: 'email', name: 'a', host: 'h', password: 'x' };
    const text = curlCommand({ method: 'POST', url: 'http://127.0.0.1:9/', body }, published('email'));
    await assert.rejects(
      run('sh', ['-c', text], { env: { PATH: process.env['PATH']!, PLUGBOARD_TOKEN: 't' } }),
      /SECRET_PASSWORD/,
    );
  });
});
