import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusal } from './elastic-answer.ts';

function refused(status: number, body: unknown) {
  const { code, message } = refusal({
    status,
    headers: {},
    body: Buffer.from(JSON.stringify(body)),
    truncated: false,
  });
  return { code, message };
}

test('what failed on the shards is told by its cause, not by that they failed', () => {
  const error = {
    root_cause: [{ type: 'illegal_argument_exception', reason: 'Fielddata is disabled on [text]' }],
    type: 'search_phase_execution_exception',
    reason: 'all shards failed',
  };
  assert.deepEqual(refused(400, { error, status: 400 }), {
    code: 'request_rejected',
    message: 'Elasticsearch answered with 400 (illegal_argument_exception: Fielddata is disabled on [text])',
  });
  const blocked = {
    ...error,
    root_cause: [{ type: 'cluster_block_exception', reason: 'disk usage exceeded flood-stage watermark' }],
  };
  assert.equal(refused(429, { error: blocked }).code, 'quota_exceeded');
});

test('without a cause that says anything the failure itself is told', () => {
  const said = { type: 'some_exception', reason: 'as it is' };
  for (const root_cause of [undefined, null, [], [null], [{}], [{ type: 'x', reason: null }], {}, 'x', 5])
    assert.match(refused(400, { error: { ...said, root_cause } }).message, /\(some_exception: as it is\)$/);
  assert.match(refused(400, { error: 'in words' }).message, /\(in words\)$/);
  assert.equal(refused(400, { error: null }).message, 'Elasticsearch answered with 400');
});
