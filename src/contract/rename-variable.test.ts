import assert from 'node:assert/strict';
import { test } from 'node:test';
import { definitions } from '../connectors/definitions.ts';
import type { ConnectionType } from './connection-type.ts';
import { renameVariable } from './references.ts';

const email = definitions.email as unknown as ConnectionType;
const database = definitions.database as unknown as ConnectionType;

test('a variable is renamed where it is one, and nowhere else', () => {
  const config = {
    type: 'email',
    name: 'mail ${OLD}',
    host: '${OLD}.example',
    port: '${OLD}',
    from: '$${OLD} <a@${OLD}>',
    username: '${OLDER}',
    password: 'a ${OLD} within a secret is its text',
  };
  assert.deepEqual(renameVariable(email, config, 'OLD', 'NEW'), {
    ...config,
    host: '${NEW}.example',
    port: '${NEW}',
    from: '$${OLD} <a@${NEW}>',
  });
  const whole = { ...config, password: '${OLD}' };
  assert.equal(renameVariable(email, whole, 'OLD', 'NEW')['password'], '${NEW}');
});

test('references within the credentials of a URL stay as they are written, or are renamed', () => {
  const config = {
    type: 'database',
    name: 'd',
    jdbcUrl: 'jdbc:postgresql://${HOST}:5432/app?password=${OLD}',
  };
  assert.equal(
    renameVariable(database, config, 'OLD', 'NEW')['jdbcUrl'],
    'jdbc:postgresql://${HOST}:5432/app?password=${NEW}',
  );
  assert.equal(
    renameVariable(database, config, 'HOST', 'NEW')['jdbcUrl'],
    'jdbc:postgresql://${NEW}:5432/app?password=${OLD}',
  );
});
