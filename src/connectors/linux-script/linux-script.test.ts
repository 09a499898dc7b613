import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCompiler, parseConnection } from '../../contract/validation.ts';
import { linuxScript } from './linux-script.definition.ts';

const minimal = { type: 'linux-script', name: 'ssh', hostName: 'h', username: 'u' };

test('a password or a private key is needed', () => {
  const none = parseConnection(linuxScript, minimal);
  assert.ok(!none.ok);
  assert.deepEqual(none.faults, [{ field: 'password', message: 'is required unless privateKey is given' }]);
  for (const login of [{ password: 'secret-1' }, { privateKey: '-----BEGIN KEY-----\nx\n' }])
    assert.ok(parseConnection(linuxScript, { ...minimal, ...login }).ok);
});

test('run takes either a script or a command with arguments', () => {
  const validate = createCompiler().compile(linuxScript.operations.run.input);
  for (const input of [
    { script: 'uptime' },
    { command: 'ls', args: ['-l', 'a b'], stdin: '', environment: { LANG: 'C' }, timeoutMs: 1 },
    { command: 'ls' },
  ])
    assert.ok(validate(input), JSON.stringify(input));
  for (const input of [
    {},
    { script: 'uptime', command: 'ls' },
    { script: 'uptime', args: ['x'] },
    { args: ['x'] },
    { command: 'ls', environment: { 'A;B': 'x' } },
    { command: 'ls', timeoutMs: 0 },
    { command: 'ls', shell: true },
  ])
    assert.equal(validate(input), false, JSON.stringify(input));
});
