import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import type { UsageToken } from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import { UsageTokens } from './usage-tokens.ts';

const target = { project: 'P', connection: 'a', operation: 'read' };
const token = (operations?: string[]): UsageToken => ({
  hash: hash('sha256', 'good', 'base64url'),
  expiresAt: null,
  actor: 'token:t',
  grants: [{ project: 'P', ...(operations ? { operations } : {}) }],
});

function authorised() {
  const tokens = new UsageTokens();
  tokens.learn([token()]);
  return { tokens, permit: tokens.authorize('Bearer good', target) };
}

test('security.md 21: what was authorised does not begin once its token is revoked or narrowed', () => {
  for (const next of [[], [token(['write'])]]) {
    const { tokens, permit } = authorised();
    tokens.learn(next);
    assert.throws(() => tokens.begin(permit), { code: 'unauthorized_client' });
  }
});

test('tokens that come anew and allow as much as before end nothing', () => {
  const { tokens, permit } = authorised();
  const running = tokens.begin(permit);
  tokens.learn([token(['read'])]);
  assert.equal(running.isAborted, false);
  tokens.begin(permit).done();
  running.done();
});

test('whatever runs is aborted for one reason, and nothing that was answered', () => {
  const { tokens, permit } = authorised();
  const [running, answered] = [tokens.begin(permit), tokens.begin(permit)];
  answered.done();
  const reason = new AppError('unavailable', 'The worker is stopping');
  tokens.abortAll(reason);
  assert.equal(running.signal.reason, reason);
  assert.equal(answered.isAborted, false);
});
