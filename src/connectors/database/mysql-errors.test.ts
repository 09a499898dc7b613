import assert from 'node:assert/strict';
import { test } from 'node:test';
import { classifyMysqlError } from './mysql-errors.ts';

const raised = (message: string, more: object) => classifyMysqlError(Object.assign(new Error(message), more));

test('the server is quoted, with SQLSTATE and number', () => {
  const denied = raised('Access denied', { errno: 1045, sqlState: '28000', code: 'ER_ACCESS_DENIED_ERROR' });
  assert.deepEqual(
    [denied.code, denied.message],
    ['authentication_failed', 'Access denied (SQLSTATE 28000, error 1045)'],
  );
  assert.match(denied.details.hint!, /check user name and password/);
  const unheard = raised('No', { errno: 1000 });
  assert.deepEqual([unheard.code, unheard.message], ['request_rejected', 'No (SQLSTATE HY000, error 1000)']);
  assert.equal(raised('Gone', { errno: 1999, sqlState: '08S01' }).code, 'connection_lost');
});

test('errors of the driver and of sockets are none of the server', () => {
  assert.equal(raised('x', { errno: -111, code: 'ECONNREFUSED' }).code, 'connection_refused');
  assert.equal(raised('x', { errno: 999 }).code, 'protocol_error');
  const plugin = raised('Unknown plugin: p', { code: 'AUTH_SWITCH_PLUGIN_ERROR' });
  assert.deepEqual([plugin.code, plugin.message], ['authentication_failed', 'Unknown plugin: p']);
  const clear = raised('Server does not support secure connection', { code: 'HANDSHAKE_NO_SSL_SUPPORT' });
  assert.equal(clear.code, 'tls_not_offered');
  assert.notEqual(clear.message, 'Server does not support secure connection');
  assert.equal(
    raised("Can't add new command when connection is in closed state", {}).code,
    'connection_lost',
  );
  assert.equal(raised('Malformed packet', {}).code, 'protocol_error');
  assert.equal(classifyMysqlError(null).code, 'protocol_error');
});
