import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Plugboard, startPlugboard } from '../harness/plugboard.ts';
import { type PostgresqlService, startPostgresql } from '../services/postgresql.ts';
import { startOrSkip } from '../services/service.ts';

/** The documents' bodies, as they stand there. */
const emailBody = {
  type: 'email',
  name: 'my-email-connection',
  description: 'Email connection for sending notifications',
  deployToWorker: true,
  enabled: true,
  host: 'smtp.gmail.com',
  port: 587,
  enableStartTls: true,
  auth: true,
  username: 'user@example.com',
  password: 'app-password',
  defaultEncoding: 'UTF-8',
  addressToTest: 'test@example.com',
  from: 'noreply@example.com',
  additionalProperties: [],
};
const databaseBody = {
  type: 'database',
  name: 'my-db-connection',
  description: 'PostgreSQL database connection',
  deployToWorker: true,
  enabled: true,
  host: 'localhost',
  port: 5432,
  databaseName: 'mydb',
  username: 'dbuser',
  password: 'dbpassword',
  driverClassName: 'org.postgresql.Driver',
  jdbcUrl: 'jdbc:postgresql://localhost:5432/mydb',
};
const kafkaBody = {
  type: 'kafka',
  name: 'my-kafka-connection',
  description: 'Kafka connection for event streaming',
  deployToWorker: true,
  enabled: true,
  topicName: 'events',
  bootstrapServers: 'localhost:9092',
  keyStoreName: 'my-keystore',
  trustStoreName: 'my-truststore',
};
async function postgresqlOrNone(): Promise<PostgresqlService | undefined> {
  return startOrSkip(
    { skip: (message) => void test(message ?? 'PostgreSQL', { skip: true }) },
    startPostgresql,
  );
}

const list = '/apiops/projects/MyProject/connections/';
const one = `${list}my-email-connection/`;

for (const store of ['SQLite', 'PostgreSQL'] as const)
  describe(`the source documents hold on ${store}`, async () => {
    const postgresql = store === 'PostgreSQL' ? await postgresqlOrNone() : undefined;
    if (store === 'PostgreSQL' && !postgresql) return;
    let plugboard: Plugboard;
    before(async () => {
      // Nothing leaves the machine: the examples' hosts are real ones.
      const workerOptions = { egress: { deny: ['0.0.0.0/0', '::/0', '*'] } };
      plugboard = await startPlugboard({
        workerOptions,
        ...(postgresql ? { databaseUrl: postgresql.url() } : {}),
      });
    });
    after(async () => {
      await plugboard.stop();
      await postgresql?.stop();
    });

    describe('create connection', () => {
      test('example 1, the email connection: created and deployed', async () => {
        const answer = await plugboard.call('POST', one, emailBody);
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.body.success, true);
        assert.equal(answer.body.deploymentResult.success, true);
      });

      test('example 2, the database connection', async () => {
        const answer = await plugboard.call('POST', `${list}my-db-connection/`, databaseBody);
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.body.success, true);
        assert.equal(answer.body.deploymentResult.success, true, answer.text);
      });

      test('example 3, the Kafka connection: stored, with a warning for each store that is not there', async () => {
        const answer = await plugboard.call('POST', `${list}my-kafka-connection/`, kafkaBody);
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.body.success, true);
        const warnings = answer.body.warnings.join('\n');
        assert.match(warnings, /my-keystore/);
        assert.match(warnings, /my-truststore/);
      });

      test('a name that exists: 400 in exactly these words', async () => {
        const answer = await plugboard.call('POST', one, emailBody);
        assert.equal(answer.status, 400);
        assert.equal(answer.body.error, 'bad_request');
        assert.equal(answer.body.error_description, 'Connection (name: my-email-connection) already exists!');
      });

      test('unique names: without regard to case', async () => {
        const name = 'MY-Email-Connection';
        const answer = await plugboard.call('POST', `${list}${name}/`, { ...emailBody, name });
        assert.equal(answer.status, 400);
        assert.match(answer.body.error_description, /already exists!$/);
      });

      test('a token that is not known: 401 in exactly these words', async () => {
        for (const token of ['YOUR_TOKEN', null]) {
          const answer = await plugboard.call('POST', one, emailBody, { token });
          assert.equal(answer.status, 401);
          assert.equal(answer.body.error, 'unauthorized_client');
          assert.equal(answer.body.error_description, 'Invalid token');
        }
      });

      test('a project that is not there: 404 in exactly these words', async () => {
        const answer = await plugboard.call('POST', one.replace('MyProject', 'Nowhere'), emailBody);
        assert.equal(answer.status, 404);
        assert.equal(answer.body.error, 'not_found');
        assert.equal(answer.body.error_description, "Project 'Nowhere' not found");
      });

      test('the name in the path must match the one in the body, without regard to case', async () => {
        const other = await plugboard.call('POST', `${list}other/`, { ...emailBody, name: 'another' });
        assert.equal(other.status, 400);
        assert.deepEqual(
          other.body.validation_errors.map(({ field }: { field: string }) => field),
          ['name'],
        );
        const sameButCase = await plugboard.call('POST', `${list}OTHER/`, { ...emailBody, name: 'other' });
        assert.equal(sameButCase.status, 200, sameButCase.text);
      });

      test('type is the discriminator: missing or unknown, 400 on that field', async () => {
        for (const type of [undefined, 'smtp', 7]) {
          const answer = await plugboard.call('POST', `${list}typed/`, { ...emailBody, type, name: 'typed' });
          assert.equal(answer.status, 400);
          assert.equal(answer.body.validation_errors[0].field, 'type');
        }
      });

      test('the former _class is accepted and ignored', async () => {
        const body = { ...emailBody, name: 'classy', _class: 'com.example.Email' };
        const answer = await plugboard.call('POST', `${list}classy/`, body);
        assert.equal(answer.status, 200, answer.text);
        assert.match(answer.body.warnings.join('\n'), /_class/);
      });

      test('missing required fields and invalid values: 400 naming each', async () => {
        const answer = await plugboard.call('POST', `${list}faulty/`, {
          type: 'email',
          name: 'faulty',
          port: '587',
        });
        assert.equal(answer.status, 400);
        const fields = answer.body.validation_errors.map(({ field }: { field: string }) => field).sort();
        assert.deepEqual(fields, ['host', 'port']);
        assert.equal((await plugboard.call('GET', `${list}faulty/`)).status, 404);
      });

      test('every type of the document is one of ours', async () => {
        const documented =
          'email, kafka, elasticsearch, database, ldap, ftp, rabbitMq, activeMq, snmp, linux-script, ops-genie, graylog, syslog, webhook, logback';
        const answer = await plugboard.call('GET', '/apiops/connection-types/');
        const types = answer.body.resultList.map(({ type }: { type: string }) => type);
        assert.deepEqual(types.sort(), documented.split(', ').sort());
      });

      test('email defaults: port 587, UTF-8, nothing else switched on', async () => {
        const body = { type: 'email', name: 'bare', host: 'smtp.example.com' };
        assert.equal((await plugboard.call('POST', `${list}bare/`, body)).status, 200);
        const { resultList } = (await plugboard.call('GET', `${list}bare/`)).body;
        const { port, defaultEncoding, enableStartTls, auth, deployToWorker, enabled, additionalProperties } =
          resultList[0];
        assert.deepEqual(
          { port, defaultEncoding, enableStartTls, auth, deployToWorker, enabled, additionalProperties },
          {
            port: 587,
            defaultEncoding: 'UTF-8',
            enableStartTls: false,
            auth: false,
            deployToWorker: true,
            enabled: true,
            additionalProperties: [],
          },
        );
      });

      test('username and password are required when auth is true', async () => {
        const body = { type: 'email', name: 'needy', host: 'smtp.example.com', auth: true };
        const answer = await plugboard.call('POST', `${list}needy/`, body);
        assert.equal(answer.status, 400);
        const fields = answer.body.validation_errors.map(({ field }: { field: string }) => field).sort();
        assert.deepEqual(fields, ['password', 'username']);
      });

      test('deployToWorker false: stored, and not deployed', async () => {
        const body = { ...emailBody, name: 'shelved', deployToWorker: false };
        const answer = await plugboard.call('POST', `${list}shelved/`, body);
        assert.equal(answer.status, 200, answer.text);
        assert.equal('deploymentResult' in answer.body, false);
        const used = await plugboard.call('POST', `${list}shelved/operations/send/`, {
          to: ['a@example.com'],
          subject: '',
        });
        assert.equal(used.status, 409);
        assert.equal(used.body.error, 'not_active');
      });
    });

    describe('list and get', () => {
      test('list demands the type parameter in these words', async () => {
        const answer = await plugboard.call('GET', list);
        assert.equal(answer.status, 400);
        assert.equal(answer.body.error_description, 'Connection type parameter is required!');
      });

      test('list answers resultList and resultCount with the password null', async () => {
        const answer = await plugboard.call('GET', `${list}?type=email`);
        assert.equal(answer.status, 200);
        const found = answer.body.resultList.find(
          ({ name }: { name: string }) => name === 'my-email-connection',
        );
        assert.equal(answer.body.resultCount, answer.body.resultList.length);
        assert.equal(found.password, null);
        assert.equal(answer.text.includes('app-password'), false);
        assert.ok(answer.body.resultList.every(({ type }: { type: string }) => type === 'email'));
      });

      test('get answers the password in full, in a list of one', async () => {
        const answer = await plugboard.call('GET', one);
        assert.equal(answer.status, 200);
        assert.equal(answer.body.resultCount, 1);
        const got = answer.body.resultList[0];
        for (const [field, value] of Object.entries(emailBody)) assert.deepEqual(got[field], value, field);
      });

      test('get finds the name without regard to case; the slash at the end is optional', async () => {
        assert.equal((await plugboard.call('GET', one.replace('my-email', 'MY-EMAIL'))).status, 200);
        assert.equal((await plugboard.call('GET', one.slice(0, -1))).status, 200);
      });
    });

    describe('update', () => {
      test('whatever get returns, update accepts, and it changes nothing', async () => {
        const got = (await plugboard.call('GET', one)).body.resultList[0];
        const answer = await plugboard.call('PUT', one, got);
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.body.deploymentResult.success, true);
        assert.deepEqual((await plugboard.call('GET', one)).body.resultList[0], got);
      });

      test('a password left null is kept', async () => {
        const answer = await plugboard.call('PUT', one, {
          ...emailBody,
          description: 'changed',
          password: null,
        });
        assert.equal(answer.status, 200, answer.text);
        const got = (await plugboard.call('GET', one)).body.resultList[0];
        assert.equal(got.password, 'app-password');
        assert.equal(got.description, 'changed');
      });

      test('the name must match the path', async () => {
        assert.equal((await plugboard.call('PUT', one, { ...emailBody, name: 'renamed' })).status, 400);
      });

      test('the type cannot change', async () => {
        const answer = await plugboard.call('PUT', one, { ...databaseBody, name: 'my-email-connection' });
        assert.equal(answer.status, 400);
        assert.equal(answer.body.validation_errors[0].field, 'type');
      });

      test('not there: 400 in these words', async () => {
        const answer = await plugboard.call('PUT', `${list}nobody/`, { ...emailBody, name: 'nobody' });
        assert.equal(answer.status, 400);
        assert.equal(answer.body.error_description, 'Connection (name: nobody) was not found!');
      });
    });

    describe('delete', () => {
      test('deletes and undeploys', async () => {
        const answer = await plugboard.call('DELETE', one);
        assert.equal(answer.status, 200);
        assert.equal(answer.body.success, true);
        assert.equal(answer.body.deploymentResult.success, true);
        assert.equal((await plugboard.call('GET', one)).status, 404);
      });

      test('not there: 400 in these words', async () => {
        const answer = await plugboard.call('DELETE', one);
        assert.equal(answer.status, 400);
        assert.equal(answer.body.error_description, 'Connection (name: my-email-connection) was not found!');
      });
    });

    test('the notes on ports, STARTTLS and Gmail stand where people read them', async () => {
      const { body } = await plugboard.call('GET', '/apiops/connection-types/email/');
      const help = JSON.stringify([body.notes, body.schema]);
      for (const port of ['25', '587', '465']) assert.ok(help.includes(port));
      assert.match(help, /app password/i);
      assert.match(help, /STARTTLS/);
    });
  });
