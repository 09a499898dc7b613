import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConnection } from '../../contract/validation.ts';
import { Zone } from './date-pattern.ts';
import { filePattern, logback } from './logback.definition.ts';
import { compileLayout } from './pattern-layout.ts';

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

test('security 11: by %replace no event begins a second line, whatever a caller says', () => {
  const forged = 'seen\r\n2026-01-01 00:00:00,000 ERROR audit forged\n';
  const event = { timestampMs: 0, message: forged, logger: forged, thread: forged, exception: forged };
  const plain = compileLayout('%d %level %logger %msg%n', new Zone('UTC'))(event);
  assert.ok(plain.split('\n').length > 2, 'as Logback does');
  const note = logback.notes!.find((text) => text.includes('%replace'))!;
  const documented = /`(.*)`/.exec(note)![1]!;
  const line = compileLayout(documented, new Zone('UTC'))({ ...event, level: 'INFO' });
  assert.match(line, /^1970-01-01 00:00:00,000 INFO seen [^\r\n]*forged [^\r\n]*\n$/);
});

test('%replace takes classes of characters alone', () => {
  const layout = (options: string) => () => compileLayout(`%replace(%msg)${options}`, new Zone('UTC'));
  for (const options of ['', '{x}', "{'(a+)+', ' '}", "{'[a]*', ''}", "{'[a-z&&[b]]', ''}", "{'[a]', '$1'}"])
    assert.throws(layout(options), /%replace takes a class of characters/, options);
  const tidy = layout("{'[^a-z]+', '_'}")();
  assert.equal(tidy({ timestampMs: 0, message: 'a1\n😀b', logger: 'x' }), 'a_b');
});

test('the file pattern is put together as documented, the host name standing in for the pod', () => {
  const config = { logPath: '/l/', logFileName: 'app', logPodName: '', logFilenamePattern: '%d.%i.log' };
  assert.equal(filePattern(config, 'node-1'), '/l/app-node-1-%d.%i.log');
  assert.equal(filePattern({ ...config, logPodName: 'pod' }, 'node-1'), '/l/app-pod-%d.%i.log');
});
