import assert from 'node:assert/strict';
import { it } from 'node:test';
import { faultLine } from '../../console/src/connection-form/json-fault.ts';

const good = '{\n  "a": [1, -2.5e+3, true, null, {}],\n  "b": {"c": "\\u00e9 \\" }"},\n  "d": []\n}';

it('finds the line on which a text stops being JSON', () => {
  const cases: [string, number][] = [
    ['', 1],
    ['{\n  "a": oops\n}', 2],
    ['{\n"a": 1\n"b": 2\n}', 3],
    ['{\n"a": 1,\n}', 3],
    ['[1,\n2,\n', 3],
    ['{"a": "b\nc"}', 1],
    ['{}\n\n}', 3],
    ["{\n'a': 1}", 2],
    ['[01]', 1],
    ['{"a"\n: \n}', 3],
  ];
  for (const [text, line] of cases) {
    assert.throws(() => JSON.parse(text));
    assert.equal(faultLine(text), line, JSON.stringify(text));
  }
});

it('goes through what is JSON to its end', () => {
  for (const text of [good, '1', ' [] \n', '"x"']) {
    JSON.parse(text);
    assert.equal(faultLine(text), text.split('\n').length);
  }
});

it('agrees with the engine wherever that says the place', () => {
  let compared = 0;
  for (let at = 0; at < good.length; at++)
    for (const put of ['', ',', '}', '"', 'x']) {
      const text = good.slice(0, at) + put + good.slice(at + 1);
      try {
        JSON.parse(text);
      } catch (error) {
        const offset = /position (\d+)/.exec((error as Error).message)?.[1];
        // An unended string is said to end where the text breaks it, which may be a line later.
        if (offset === undefined || /string|control/i.test((error as Error).message)) continue;
        assert.equal(faultLine(text), text.slice(0, Number(offset)).split('\n').length, JSON.stringify(text));
        compared++;
      }
    }
  assert.ok(compared > 100, String(compared));
});
