import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../errors.ts';
import { classifyRabbitMqError, classifyReply } from './rabbitmq-errors.ts';

test('what the server said when it closed has a code of ours, and often what to do', () => {
  const cases: [reply: number, text: string, code: string, hint?: RegExp][] = [
    [
      403,
      'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN',
      'authentication_failed',
      /password/,
    ],
    [
      403,
      "ACCESS_REFUSED - write access to queue 'q' in vhost '/' refused",
      'permission_denied',
      /set_permissions/,
    ],
    [530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u'", 'permission_denied', /set_permissions/],
    [530, 'NOT_ALLOWED - vhost v not found', 'request_rejected', /add_vhost/],
    [
      530,
      "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (1) is reached",
      'target_busy',
    ],
    [
      530,
      "NOT_ALLOWED - connection refused for user 'u': user connection limit (1) is reached",
      'target_busy',
    ],
    [530, 'NOT_ALLOWED - attempt to reuse consumer tag', 'request_rejected'],
    [406, 'PRECONDITION_FAILED - message size 9 is larger than configured max size 5', 'message_too_large'],
    [
      406,
      "PRECONDITION_FAILED - user_id property set to 'a' but authenticated user was 'b'",
      'request_rejected',
      /basicPropertiesUserId/,
    ],
    [406, "PRECONDITION_FAILED - inequivalent arg 'durable'", 'request_rejected'],
    [404, "NOT_FOUND - no exchange 'x' in vhost '/'", 'request_rejected', /exchange/],
    [404, "NOT_FOUND - no queue 'x' in vhost '/'", 'request_rejected', /queue/],
    [320, 'CONNECTION_FORCED - broker forced connection closure', 'connection_lost'],
    [999, 'unheard', 'target_error'],
  ];
  for (const [reply, text, code, hint] of cases) {
    const failure = classifyReply(reply, text);
    assert.equal(failure.code, code, text);
    assert.equal(failure.message, `The server says: ${text}`);
    if (hint) assert.match(failure.details.hint!, hint, text);
    else assert.equal(failure.details.hint, undefined, text);
  }
});

test('errors of the library have codes of ours', () => {
  const cases: [error: unknown, code: string][] = [
    [
      new Error('Channel closed by server: 404 (NOT-FOUND) with message "NOT_FOUND - no queue \'x\'"'),
      'request_rejected',
    ],
    [Object.assign(new Error('x'), { code: 403 }), 'permission_denied'],
    [Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 'connection_refused'],
    [new Error('message nacked'), 'quota_exceeded'],
    [new Error('Heartbeat timeout'), 'connection_lost'],
    [new Error('Socket closed abruptly during opening handshake'), 'connection_lost'],
    [new Error('Channel ended, no reply will be forthcoming'), 'connection_lost'],
    [new Error('No channels left to allocate'), 'target_busy'],
    [new Error('SASL mechanism PLAIN is not provided by the server'), 'authentication_failed'],
    [new Error('Invalid frame'), 'protocol_error'],
    [new TypeError('Field x is the wrong type'), 'request_rejected'],
    [new RangeError('out of range'), 'request_rejected'],
    [new Error('unheard'), 'target_error'],
    ['no error', 'target_error'],
    [new AppError('cancelled'), 'cancelled'],
  ];
  for (const [error, code] of cases) assert.equal(classifyRabbitMqError(error).code, code, String(error));
});
