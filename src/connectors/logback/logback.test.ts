import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConnection } from '../../contract/validation.ts';
import { filePattern, logback } from './logback.definition.ts';

function parse(body: object) {
  return parseConnection(logback, { type: 'logback', name: 'files', logPath: '/var/log/app', ...body });
}

function faultyFields(body: object): string[] {
  const result = parse(body);
  return result.ok ? [] : result.faults.map(({ field }) => field);
}

test('slashes are put right, and doing it again changes nothing', () => {
  const first = parse({ logFileName: '//traffic' });
  assert.ok(first.ok);
  assert.equal(first.config['logPath'], '/var/log/app/');
  assert.equal(first.config['logFileName'], 'traffic');
  const again = parseConnection(logback, first.config);
  assert.ok(again.ok);
  assert.deepEqual(again.config, first.config);
});

test('the pattern of the file names needs a rolling date and a number', () => {
  for (const logFilenamePattern of [
    '%d.%i.log',
    '%d{yyyy/MM, aux}/%d{yyyy-MM-dd_HH}.%i.log.gz',
    '${PATTERN}',
    '%d{yyyy-MM-dd}.%03i.log',
  ])
    assert.deepEqual(faultyFields({ logFilenamePattern }), [], logFilenamePattern);
  for (const logFilenamePattern of ['app.log', '%d.log', '%i.log', '%d{yyyy, aux}.%i.log', '%d.%d.%i.log'])
    assert.deepEqual(faultyFields({ logFilenamePattern }), ['logFilenamePattern'], logFilenamePattern);
});

test('security 11: no part of the name climbs out of the directory', () => {
  assert.deepEqual(faultyFields({ logPath: '/var/log/../../etc' }), ['logPath']);
  assert.deepEqual(faultyFields({ logFileName: '../x' }), ['logFileName']);
  assert.deepEqual(faultyFields({ logPodName: '../x' }), ['logPodName']);
  assert.deepEqual(faultyFields({ logFilenamePattern: '/../%d.%i' }), ['logFilenamePattern']);
  assert.deepEqual(faultyFields({ logPath: '/var/log/a..b' }), []);
});

test('the file pattern is put together as documented, the host name standing in for the pod', () => {
  const config = { logPath: '/l/', logFileName: 'app', logPodName: '', logFilenamePattern: '%d.%i.log' };
  assert.equal(filePattern(config, 'node-1'), '/l/app-node-1-%d.%i.log');
  assert.equal(filePattern({ ...config, logPodName: 'pod' }, 'node-1'), '/l/app-pod-%d.%i.log');
});
