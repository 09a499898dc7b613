import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlugboard } from '../../../test/harness/plugboard.ts';

test('every call says what an error looks like, of whatever status', async () => {
  const plugboard = await startPlugboard({ withWorker: false });
  const { paths } = await plugboard.ok('GET', '/apiops/openapi.json');
  for (const [path, calls] of Object.entries(paths as Record<string, Record<string, { responses: object }>>))
    for (const [method, { responses }] of Object.entries(calls))
      assert.deepEqual(
        (responses as Record<string, { content: object }>)['default']?.content,
        { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
        `${method} ${path}`,
      );
  await plugboard.stop();
});
