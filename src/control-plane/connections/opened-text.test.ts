import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSealer } from '../store/sealing.ts';
import { textOpener } from './opened-text.ts';
import { openConfig } from './sealed-config.ts';

const sealer = createSealer([Buffer.alloc(32, 7) as never]);

function rowOf(masked: object, secrets: Record<string, string>) {
  const place = { project: 'p', connection: 'c' };
  const sealed = Object.entries(secrets).map(([field, plain]) => [
    field,
    sealer.seal(plain, { ...place, field }),
  ]);
  return {
    id: 'c',
    project_id: 'p',
    masked: JSON.stringify(masked),
    sealed: JSON.stringify(Object.fromEntries(sealed)),
  };
}

const cases: Record<string, [masked: object, secrets: Record<string, string>]> = {
  'no secret': [{ name: 'a', password: null }, {}],
  'one secret': [{ name: 'a', password: null, port: 1 }, { '/password': 's' }],
  'the first field': [{ password: null, name: 'a' }, { '/password': 's' }],
  'several, in another order than the fields': [
    { aKey: null, name: 'a', bKey: null, cKey: null },
    { '/cKey': 'third', '/aKey': 'first', '/bKey': 'second' },
  ],
  'a secret that JSON escapes': [
    { password: null, name: 'a' },
    { '/password': '"\\\n\u2028é😀","bKey":null' },
  ],
  'a secret that looks like the next field': [
    { aKey: null, bKey: null },
    { '/aKey': ',"bKey":null', '/bKey': '$&$1' },
  ],
  'the key within a text before it': [
    { description: ',"password":null', labels: { 'x,"password': 'y' }, password: null },
    { '/password': 's' },
  ],
  'the key of a deeper field before it': [
    { proxy: { password: null }, password: null },
    { '/password': 's' },
  ],
  'a URL, and a deeper field of its name': [
    { options: { url: null }, url: 'http://***@host/' },
    { '/url': 'http://u:p@host/' },
  ],
  'a key that reads like the pointer of a deeper secret': [
    { properties: { 'list/0': null }, list: [null], password: null },
    { '/list/0': 'deep', '/password': 's' },
  ],
  'a deeper secret': [
    { headerList: [{ name: 'x', value: null }], password: null },
    { '/headerList/0/value': 'deep', '/password': 's' },
  ],
};

for (const [name, [masked, secrets]] of Object.entries(cases))
  test(`the text of an opened body is that of the body: ${name}`, () => {
    const row = rowOf(masked, secrets);
    const expected = JSON.stringify(openConfig(sealer, row));
    const open = textOpener(sealer, row);
    assert.deepEqual([open(), open()], [expected, expected]);
  });

test('a secret sealed for another place is not spliced in', () => {
  const row = rowOf({ name: 'a', password: null }, { '/password': 's' });
  assert.throws(textOpener(sealer, { ...row, id: 'd' }), { code: 'internal_error' });
});
