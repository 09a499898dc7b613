import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import type { StageResult } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { TargetGuard } from './target-guard.ts';

const email = definitions.email as unknown as ConnectionType;
const config = { host: 'smtp.example.com', port: 587, auth: true, username: 'u', password: 'p' };
const stages = (status: 'passed' | 'failed', code?: string): StageResult[] => [
  { stage: 'authenticate', status, ...(code ? { code } : {}) },
];
const refused = stages('failed', 'authentication_failed');

function admits(guard: TargetGuard, of: Record<string, unknown>): boolean {
  try {
    guard.admit(email, of);
    return true;
  } catch (error) {
    assert.ok(error instanceof AppError);
    assert.equal(error.code, 'rate_limit_exceeded');
    assert.ok(error.details.retryAfter! >= 1);
    return false;
  }
}

describe('security 10: scanner and lock-out', () => {
  test('twenty tests a minute for one target, whatever else differs', () => {
    const guard = new TargetGuard();
    for (let n = 0; n < 20; n++) assert.equal(admits(guard, { ...config, description: String(n) }), true);
    assert.equal(admits(guard, config), false);
    assert.equal(admits(guard, { ...config, host: 'other.example.com' }), true);
  });

  test('after three refused log-ins in a row the account pauses, longer each time', (t) => {
    mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
    t.after(() => mock.timers.reset());
    const guard = new TargetGuard();
    for (let n = 0; n < 3; n++) {
      assert.equal(admits(guard, config), true);
      guard.note(email, config, refused);
    }
    assert.equal(admits(guard, config), false);
    assert.equal(admits(guard, { ...config, username: 'another' }), true);
    mock.timers.tick(31_000);
    assert.equal(admits(guard, config), true);
    guard.note(email, config, refused);
    mock.timers.tick(31_000);
    assert.equal(admits(guard, config), false, 'the second pause is longer');
    mock.timers.tick(31_000);
    assert.equal(admits(guard, config), true);
  });

  test('a log-in that succeeds forgets the refusals; other failures are none', () => {
    const guard = new TargetGuard();
    guard.note(email, config, refused);
    guard.note(email, config, refused);
    guard.note(email, config, stages('passed'));
    guard.note(email, config, refused);
    guard.note(email, config, stages('failed', 'connection_lost'));
    guard.note(email, config, stages('failed', 'connection_lost'));
    assert.equal(admits(guard, config), true);
  });
});
