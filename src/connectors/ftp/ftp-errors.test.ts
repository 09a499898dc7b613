import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FTPError } from 'basic-ftp';
import { AppError } from '../../errors.ts';
import { classifyFtpError } from './ftp-errors.ts';

test('replies of a server have codes of ours', () => {
  const cases: [reply: number, said: string, code: string][] = [
    [421, 'too many', 'target_busy'],
    [425, 'no data connection', 'connection_lost'],
    [426, 'cut off', 'connection_lost'],
    [430, 'no', 'authentication_failed'],
    [530, 'no', 'authentication_failed'],
    [450, 'in use', 'target_busy'],
    [452, 'full', 'quota_exceeded'],
    [552, 'full', 'quota_exceeded'],
    [522, 'TLS', 'permission_denied'],
    [534, 'TLS', 'permission_denied'],
    [532, 'account', 'permission_denied'],
    [550, 'Permission denied.', 'permission_denied'],
    [553, 'read-only', 'permission_denied'],
    [550, 'No such file', 'request_rejected'],
    [500, 'unknown command', 'request_rejected'],
  ];
  for (const [code, message, expected] of cases)
    assert.equal(classifyFtpError(new FTPError({ code, message }))?.code, expected, `${code} ${message}`);
});

test('errors of the library and of sockets have codes of ours', () => {
  const cases: [error: unknown, code: string | undefined][] = [
    [Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 'connection_refused'],
    [new Error('Timeout (control socket)'), 'target_timeout'],
    [new Error('Server sent FIN packet unexpectedly, closing connection.'), 'connection_lost'],
    [new Error('User closed client during task'), 'connection_lost'],
    [new Error("Can't parse PASV response"), 'protocol_error'],
    [new Error('unheard'), undefined],
    ['no error', undefined],
    [new AppError('cancelled'), 'cancelled'],
  ];
  for (const [error, code] of cases) assert.equal(classifyFtpError(error)?.code, code, String(error));
});
