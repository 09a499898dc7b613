import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { ErrorOutput, KeptOutput } from './kept-output.ts';
import { firstLine, quote, wrapper } from './remote-shell.ts';

/** What the login shell of an account makes of the wrapper and of its standard input. */
function run(input: Parameters<typeof firstLine>[0], stdin = '') {
  const { stdout, stderr, status } = spawnSync('/bin/sh', ['-c', wrapper('marker')], {
    input: Buffer.concat([firstLine(input), Buffer.from(stdin)]),
  });
  return { stdout: stdout.toString(), stderr: stderr.toString(), status };
}

test('security 11: whatever an argument, a variable or the input holds arrives as it is', () => {
  const text = fc
    .string({ unit: 'binary', maxLength: 40 })
    .map((value) => value.replaceAll('\0', '').toWellFormed());
  fc.assert(
    fc.property(fc.array(text, { maxLength: 4 }), text, text, (args, value, stdin) => {
      const { stdout } = run(
        {
          command: 'sh',
          args: ['-c', 'printf "%s\\0" "$VALUE" "$@"; cat', 'sh', ...args],
          environment: { VALUE: value },
        },
        stdin,
      );
      assert.equal(stdout, [value, ...args].map((each) => `${each}\0`).join('') + stdin);
    }),
    { numRuns: 60 },
  );
});

test('security 11: the command line holds nothing of the input, and the first line is one line', () => {
  assert.ok(!wrapper('marker').includes('\n'));
  const line = firstLine({ script: 'a\nb\\n', environment: { A: 'x\ny' } }).toString();
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.equal(quote("it's"), "'it'\\''s'");
});

test('standard error loses the line of the process id, and nothing else', () => {
  const whole = Buffer.from('noise of a start-up file\nmarker 4711\nreal\n');
  for (let cut = 0; cut <= whole.length; cut++) {
    const errors = new ErrorOutput('marker', 1000);
    errors.add(whole.subarray(0, cut));
    errors.add(whole.subarray(cut));
    assert.deepEqual(errors.end(), { text: 'noise of a start-up file\nreal\n', isTruncated: false });
    assert.equal(errors.processId, 4711);
  }
  const without = new ErrorOutput('marker', 5);
  without.add(Buffer.from('no such shell'));
  assert.deepEqual(without.end(), { text: 'no su', isTruncated: true });
  assert.equal(without.processId, undefined);
});

test('output is kept up to the limit, without half a character', () => {
  const output = new KeptOutput(4);
  output.add(Buffer.from('abcü'));
  assert.equal(output.text, 'abc');
  assert.ok(output.isTruncated);
  const exact = new KeptOutput(5);
  exact.add(Buffer.from('abcü'));
  assert.equal(exact.text, 'abcü');
  assert.ok(!exact.isTruncated);
});
