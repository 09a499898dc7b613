import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../errors.ts';
import { classifyActiveMqError } from './activemq-errors.ts';
import { OpenWireBrokerError } from './openwire/openwire-connection.ts';

test('exceptions of an OpenWire broker have codes of ours', () => {
  const cases: [className: string, message: string, code: string][] = [
    ['java.lang.SecurityException', 'User u is not authorized to read from: q', 'permission_denied'],
    ['javax.jms.JMSException', 'User: u does not have permission SEND', 'permission_denied'],
    ['java.lang.SecurityException', 'x', 'authentication_failed'],
    ['jakarta.jms.JMSSecurityException', 'x', 'authentication_failed'],
    ['javax.security.auth.login.FailedLoginException', 'x', 'authentication_failed'],
    ['javax.jms.JMSException', 'Log in failed', 'authentication_failed'],
    ['javax.jms.InvalidClientIDException', 'x', 'target_busy'],
    ['javax.jms.ResourceAllocationException', 'x', 'quota_exceeded'],
    ['a.Outer$MaxFrameSizeExceededException', 'x', 'message_too_large'],
    ['javax.jms.InvalidDestinationException', 'x', 'request_rejected'],
    ['org.apache.activemq.broker.BrokerStoppedException', 'x', 'connection_lost'],
    ['java.io.IOException', 'x', 'target_busy'],
    ['javax.jms.JMSException', 'x', 'request_rejected'],
  ];
  for (const [className, message, code] of cases) {
    const failure = classifyActiveMqError(new OpenWireBrokerError({ className, message }));
    assert.deepEqual([failure.code, failure.message], [code, `The broker says: ${message}`], className);
  }
});

test('conditions of AMQP 1.0, sockets and faults of ours have codes of ours', () => {
  const unauthorized = 'amqp:unauthorized-access';
  const cases: [error: unknown, code: string, message?: string][] = [
    [{ condition: unauthorized, description: 'SASL: wrong password' }, 'authentication_failed'],
    [{ condition: unauthorized, description: 'auth: not authorized to send' }, 'permission_denied'],
    [{ condition: unauthorized, description: 'no' }, 'permission_denied', `no (${unauthorized})`],
    [{ condition: 'amqp:not-found', message: 'gone' }, 'request_rejected', 'gone (amqp:not-found)'],
    [{ condition: 'amqp:resource-locked' }, 'target_busy', 'amqp:resource-locked'],
    [{ condition: 'amqp:unheard', description: 'x' }, 'target_error'],
    [Object.assign(new Error('x'), { name: 'ProtocolError' }), 'protocol_error'],
    [new TypeError('x'), 'protocol_error'],
    [new RangeError('x'), 'request_rejected'],
    [Object.assign(new Error('x'), { code: 'ECONNRESET' }), 'connection_lost'],
    [new Error('unheard'), 'target_error'],
    [undefined, 'target_error'],
    [new AppError('cancelled'), 'cancelled'],
  ];
  for (const [error, code, message] of cases) {
    const failure = classifyActiveMqError(error);
    assert.equal(failure.code, code, JSON.stringify(error));
    if (message) assert.equal(failure.message, `The broker says: ${message}`);
  }
});
