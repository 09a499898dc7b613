import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../errors.ts';
import { CircuitBreaker } from './circuit-breaker.ts';

const failure = new AppError('connection_refused');

/** A breaker that opens after three failures for ten seconds. */
function setUp() {
  let time = 1000;
  const config = { enabled: true, errorThreshold: 3, sleepWindowSeconds: 10 };
  const breaker = new CircuitBreaker(config, () => time);
  const enter = () => breaker.enter()!;
  const fail = (times: number, error = failure) => {
    for (let at = 0; at < times; at++) enter()(error);
  };
  const retryAfter = (): number | undefined => {
    try {
      breaker.enter();
    } catch (error) {
      assert.ok(error instanceof AppError && error.code === 'circuit_open', String(error));
      return error.details.retryAfter;
    }
    return undefined;
  };
  const wait = (seconds: number) => {
    time += seconds * 1000;
  };
  return { enter, fail, retryAfter, wait };
}

test('only failures in a row open it, for the window and no longer', () => {
  const { enter, fail, retryAfter, wait } = setUp();
  fail(2);
  enter()();
  fail(2);
  const straggler = enter();
  const another = enter();
  straggler(failure);
  assert.equal(retryAfter(), 10);
  wait(4.5);
  another(failure);
  assert.equal(retryAfter(), 6, 'what was running already does not lengthen the window');
  wait(5.499);
  assert.equal(retryAfter(), 1);
  wait(0.001);
  enter();
});

test('after the window one is let through: its failure opens it again, its success closes it', () => {
  const { enter, fail, retryAfter, wait } = setUp();
  fail(3);
  for (let round = 0; round < 2; round++) {
    wait(10);
    const probe = enter();
    assert.equal(retryAfter(), 1, 'only one');
    wait(5);
    probe(failure);
    assert.equal(retryAfter(), 10);
  }
  wait(10);
  enter()();
  fail(2);
  assert.ok(enter(), 'two more failures do not open it');
});

test('what says nothing about the target neither opens nor closes it', () => {
  const { enter, fail, retryAfter, wait } = setUp();
  for (const code of [
    'bad_request',
    'not_found',
    'not_active',
    'payload_too_large',
    'cancelled',
    'egress_denied',
    'buffer_full',
  ] as const)
    fail(3, new AppError(code));
  fail(2);
  fail(1, new AppError('cancelled'));
  fail(1);
  assert.equal(retryAfter(), 10);
  wait(10);
  enter()(new AppError('cancelled'));
  const next = enter();
  assert.equal(retryAfter(), 1);
  next(failure);
  assert.equal(retryAfter(), 10);
});

test('one that is not enabled takes no outcome', () => {
  const config = { enabled: false, errorThreshold: 1, sleepWindowSeconds: 10 };
  assert.equal(new CircuitBreaker(config).enter(), undefined);
});
