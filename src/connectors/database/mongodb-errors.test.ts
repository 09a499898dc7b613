import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  MongoNetworkError,
  MongoParseError,
  MongoServerError,
  MongoServerSelectionError,
  type TopologyDescription,
} from 'mongodb';
import { AppError } from '../../errors.ts';
import { classifyMongoError, failureOfAll } from './mongodb-errors.ts';

const refused = new MongoNetworkError('x', {
  cause: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }),
});
const topology = (...servers: object[]) =>
  ({ servers: new Map(servers.map((one, at) => [`h${at}:1`, { address: `h${at}:1`, ...one }])) }) as never;
const down = { type: 'Unknown', error: refused };

test('errors of the server and of its driver have codes of ours', () => {
  const cases: [error: unknown, code: string][] = [
    [new MongoServerError({ message: 'no', code: 18 }), 'authentication_failed'],
    [new MongoServerError({ message: 'no', code: 13 }), 'permission_denied'],
    [new MongoServerError({ message: 'no', code: 2 }), 'request_rejected'],
    [refused, 'connection_refused'],
    [new MongoNetworkError('x', { cause: new MongoParseError('x') }), 'protocol_error'],
    [new MongoNetworkError('x'), 'connection_lost'],
    [new MongoServerSelectionError('x', topology() as TopologyDescription as never), 'target_timeout'],
    [
      new MongoServerSelectionError('x', topology(down) as TopologyDescription as never),
      'connection_refused',
    ],
    [Object.assign(new Error('x'), { code: 'ENOTFOUND', syscall: 'querySrv' }), 'name_not_resolved'],
    [undefined, 'protocol_error'],
    [new AppError('cancelled'), 'cancelled'],
  ];
  for (const [error, code] of cases) assert.equal(classifyMongoError(error).code, code, String(error));
  const { message } = classifyMongoError(new MongoServerError({ errmsg: 'not here', code: 2 }));
  assert.equal(message, 'not here (code 2)');
});

test('servers have failed once all have; each is told, and why it was not dialled', () => {
  const none = () => undefined;
  assert.equal(failureOfAll(undefined, none), undefined);
  assert.equal(failureOfAll(topology(), none), undefined);
  assert.equal(failureOfAll(topology(down, { type: 'RSPrimary', error: null }), none), undefined);
  const denied = new AppError('egress_denied', 'not from here');
  const failure = failureOfAll(topology(down, down), (address) => (address === 'h0:1' ? denied : undefined));
  assert.equal(failure!.code, 'egress_denied');
  assert.match(failure!.message, /^h0:1: not from here; h1:1: ./);
});
