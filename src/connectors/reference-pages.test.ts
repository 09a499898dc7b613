import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ConnectionType } from '../contract/connection-type.ts';
import { allFields } from '../contract/definition-schema.ts';
import { referencePage } from '../contract/reference-page.ts';
import { connectors } from './connectors.ts';
import { definitions } from './definitions.ts';
import { proofsOf, unproven } from './proven.ts';
import { referencePages } from './reference-pages.ts';

const directory = join(import.meta.dirname, '..', '..', 'docs', 'reference');
const pages = referencePages();

for (const [name, page] of pages)
  test(`docs/reference/${name} says what the source says`, async () => {
    const written = await readFile(join(directory, name), 'utf8');
    assert.equal(written, page, 'run `npm run docs` and commit what it writes');
  });

test('every page of the directory is one of these', async () => {
  assert.deepEqual((await readdir(directory)).toSorted(), [...pages.keys()].toSorted());
});

test('a page names every field and every operation', () => {
  for (const definition of Object.values(definitions) as unknown as ConnectionType[]) {
    const page = referencePage(definition);
    for (const name of [...Object.keys(allFields(definition)), ...Object.keys(definition.operations)])
      assert.ok(page.includes(`\`${name}\``), `${definition.type}: ${name}`);
  }
});

test('a type that is live says what it was proven against, or what is missing for that', () => {
  for (const [type, open] of Object.entries(unproven) as [keyof typeof unproven, readonly string[]][])
    if (connectors[type] !== null) assert.ok(proofsOf(type).length + open.length > 0, type);
});
