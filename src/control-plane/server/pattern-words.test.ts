import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPlugboard } from '../../../test/harness/plugboard.ts';
import { patternWords } from './pattern-words.ts';

test('every pattern of a path, a query or a body of the API is said in words', async () => {
  const plugboard = await startPlugboard({ withWorker: false });
  const { paths } = await plugboard.ok('GET', '/apiops/openapi.json');
  const found = new Set<string>();
  const look = (schema: unknown): void => {
    if (typeof schema !== 'object' || schema === null) return;
    for (const [name, value] of Object.entries(schema)) {
      if (name === 'pattern' && typeof value === 'string') found.add(value);
      else look(value);
    }
  };
  for (const path of Object.values(paths as Record<string, Record<string, Record<string, unknown>>>))
    for (const { parameters, requestBody } of Object.values(path)) look([parameters, requestBody]);
  assert.ok(found.size > 5, [...found].join('\n'));
  assert.deepEqual(
    [...found].filter((pattern) => !patternWords(pattern)),
    [],
  );

  const named = await plugboard.call('POST', '/apiops/projects/', { name: 'not/fine' });
  assert.equal(
    named.body.error_description,
    'name must start with a letter or digit and consist of letters, digits, space, `.`, `_` and `-`',
  );
  const paged = await plugboard.call('GET', '/apiops/projects/?page=0');
  assert.equal(paged.body.error_description, 'page must be a whole number from 1 to 999999999');
  await plugboard.stop();
});
