import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../errors.ts';
import { classifySshError } from './ssh-errors.ts';

const said = (message: string, more: object = {}) => Object.assign(new Error(message), more);

test('errors of ssh2 and of sockets have codes of ours', () => {
  const cases: [error: Error, code: string | undefined][] = [
    [said('x', { code: 'ECONNREFUSED', level: 'client-socket' }), 'connection_refused'],
    [said('Too many authentication failures', { code: 2 }), 'authentication_failed'],
    [
      said('All configured authentication methods failed', { level: 'client-authentication' }),
      'authentication_failed',
    ],
    [said('bye', { code: 11 }), 'connection_lost'],
    [said('full', { code: 12 }), 'target_busy'],
    [said('no matching key exchange algorithm', { level: 'handshake' }), 'protocol_error'],
    [said('Keepalive timeout', { level: 'client-timeout' }), 'connection_lost'],
    [said('x', { level: 'client-socket' }), 'connection_lost'],
    [said('Connection lost before handshake', { level: 'protocol' }), 'connection_lost'],
    [said('No response from server'), 'connection_lost'],
    [said('(SSH) Channel open failure', { reason: 4 }), 'target_busy'],
    [said('(SSH) Channel open failure', { reason: 1 }), 'request_rejected'],
    [said('x', { level: 'handshake' }), 'protocol_error'],
    [said('x', { level: 'protocol' }), 'protocol_error'],
    [said('x', { code: 99 }), undefined],
    [said('x'), undefined],
  ];
  for (const [error, code] of cases)
    assert.equal(classifySshError(error)?.code, code, `${error.message} ${JSON.stringify(error)}`);
});

test('what the server or the protocol said is quoted, with what to do', () => {
  assert.equal(classifySshError(said('bye', { code: 11 }))!.message, 'The server ended the session: bye');
  assert.match(classifySshError(said('no matching cipher'))!.details.hint!, /very old/);
  assert.match(classifySshError(said('x', { reason: 1 }))!.details.hint!, /limit the sessions/);
  const own = new AppError('cancelled');
  assert.equal(classifySshError(own), own);
  for (const other of ['x', said('x', { code: 99 })]) assert.equal(classifySshError(other), undefined);
});
