import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../connectors/connector.ts';
import { AppError } from '../errors.ts';
import { Scrubbing } from './scrubbing.ts';

const circle: { self?: unknown } = {};
circle.self = circle;
const noJson = {
  'a whole number without end': { count: 1n },
  'one within a list': [1, [{ count: 1n }]],
  'a circle': circle,
  'what refuses': {
    toJSON() {
      throw new Error('no');
    },
  },
};

for (const [what, value] of Object.entries(noJson))
  test(`a result that is no JSON fails, with or without secrets: ${what}`, () => {
    assert.throws(() => new Scrubbing([]).result(value));
    assert.throws(() => new Scrubbing(['s3cret']).result(value));
  });

test('a result without secrets is answered as it is', () => {
  const item = Object.freeze({ accepted: true });
  const values = [
    null,
    'x',
    7,
    { accepted: 2, results: [item, item] },
    { at: new Date(0), bytes: Buffer.of(1) },
  ];
  for (const value of values) {
    assert.equal(new Scrubbing([]).result(value), value);
    assert.deepEqual(new Scrubbing(['s3cret']).result(value), value);
  }
  assert.equal(new Scrubbing([]).result(undefined), null);
});

test('a result with a secret is answered without it, of any class and as JSON text', () => {
  const scrubbing = new Scrubbing(['s3cret']);
  const value = { at: new Date(0), toldBy: { toJSON: () => ['s3cret', { s3cret: 'x s3cret y' }] } };
  const scrubbed = { at: '1970-01-01T00:00:00.000Z', toldBy: ['***', { '***': 'x *** y' }] };
  assert.deepEqual(scrubbing.result(value), scrubbed);
  assert.deepEqual(JSON.parse(scrubbing.json(value)), scrubbed);
  assert.equal(scrubbing.json({ a: [1] }), '{"a":[1]}');
  assert.equal(scrubbing.json(undefined), 'null');
});

test('an error for the client has no cause, and none of its texts the secret', () => {
  const error = new AppError('target_error', 'refused s3cret', {
    cause: new Error('s3cret'),
    details: {
      stage: 'authenticate',
      retryAfter: 7,
      hint: 'try s3cret',
      validationErrors: [{ field: 's3cret', message: 'not s3cret' }],
    },
  });
  const { code, message, cause, details } = new Scrubbing(['s3cret']).error(error);
  assert.deepEqual([code, message, cause], ['target_error', 'refused ***', undefined]);
  assert.deepEqual(details, {
    stage: 'authenticate',
    retryAfter: 7,
    hint: 'try ***',
    validationErrors: [{ field: '***', message: 'not ***' }],
  });
});

test('beside a secret too short to be searched for a text of a driver is dropped whole, one of ours is not', () => {
  const messageOf = (code: 'target_error' | 'egress_denied' | 'bad_request') =>
    new Scrubbing(['abc', 's3cret']).error(new AppError(code, 'of abc and s3cret')).message;
  assert.equal(messageOf('target_error'), new AppError('target_error').message);
  assert.equal(messageOf('egress_denied'), 'of abc and ***');
  assert.equal(messageOf('bad_request'), 'of abc and ***');
});

/** What a connection's log lets through to the worker's, by level. */
function logged(secrets: string[], write: (log: Logger) => void): unknown[] {
  const lines: unknown[] = [];
  const at = (level: string) => (fields: object, message: string) => lines.push([level, fields, message]);
  write(
    new Scrubbing(secrets).log({
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
    }),
  );
  return lines;
}

const levels = ['debug', 'info', 'warn', 'error'] as const;

test('a log line has the secret neither in its message nor in its fields, nor in an error among them', () => {
  const lines = logged(['s3cret'], (log) => {
    for (const level of levels)
      log[level]({ err: new TypeError('bad s3cret'), count: 1, of: { s3cret: ['s3cret'] } }, 'said s3cret');
  });
  const fields = { err: 'TypeError: bad ***', count: 1, of: { '***': ['***'] } };
  assert.deepEqual(
    lines,
    levels.map((level) => [level, fields, 'said ***']),
  );
});

test('beside a secret too short to be searched for a log line is only told to have been', () => {
  const lines = logged(['abc'], (log) => {
    for (const level of levels) log[level]({ value: 'abc' }, 'said abc');
  });
  assert.deepEqual(
    lines,
    levels.map((level) => [
      level,
      {},
      'a log line of this connection is left out: it has a very short secret',
    ]),
  );
});
