import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareRowsWithFrames } from '../log-delivery/testing/rows-against-frames.ts';
import { messageEncoder, type SyslogConfig } from './syslog-message.ts';

const defaults = {
  syslogProtocolType: 'TCP',
  syslogMessageHostname: 'gateway-1',
  syslogAppName: 'Apinizer',
  syslogFacility: 'AUDIT',
  syslogSeverity: 'INFORMATIONAL',
  framing: 'AUTO',
};

const formats: { config: object; rowed: string[]; left: string[] }[] = [
  {
    config: { syslogMessageFormat: 'RFC_3164' },
    rowed: ['\t', '"', '\\', '~', 'ğ', '😀', '\ud800'],
    left: ['\0', '\n', '\x1f', '\x7f'],
  },
  {
    config: { syslogMessageFormat: 'RFC_3164', framing: 'OCTET_COUNTING' },
    rowed: ['\t', '"'],
    left: ['\n', '\x7f', 'ğ'],
  },
  {
    config: { syslogMessageFormat: 'RFC_5424' },
    rowed: ['\t', '"', '~'],
    left: ['\n', '\x7f', 'ğ', '\xff', '\ufeff'],
  },
  { config: { syslogMessageFormat: 'RFC_5425' }, rowed: ['\t', '\n', ']'], left: ['\r', '\x7f', '中'] },
  {
    config: { syslogMessageFormat: 'RFC_5425', framing: 'NON_TRANSPARENT' },
    rowed: ['\t'],
    left: ['\n', '中'],
  },
];

for (const { config, rowed, left } of formats)
  test(`${Object.values(config).join(', ')}: messages in a row are what they are one by one`, () => {
    const makeEncoder = () => messageEncoder({ ...defaults, ...config } as unknown as SyslogConfig);
    for (const more of [
      {},
      { severity: 'ERROR' as const, msgId: 'ID47' },
      { structuredData: { 'order@32473': { id: '7 "]\\' } } },
    ]) {
      const found = compareRowsWithFrames(makeEncoder, (message) => ({
        message,
        timestampMs: 1_700_000_000_123,
        ...more,
      }));
      for (const text of rowed) assert.ok(found.has(text), JSON.stringify(text));
      for (const text of left) assert.ok(!found.has(text), JSON.stringify(text));
    }
  });

test('security 11: no message ends its frame, and no value its place in structured data', () => {
  const forged = 'a\n<8>1 - - - - - - forged\r\0';
  for (const { config } of formats) {
    const { frame } = messageEncoder({ ...defaults, ...config } as unknown as SyslogConfig);
    const text = frame({ message: forged, timestampMs: 0 }) as string;
    const counted = /^(\d+) (<.*)$/s.exec(text);
    if (counted) assert.equal(Buffer.byteLength(counted[2]!), Number(counted[1]), text);
    else assert.equal(text.indexOf('\n'), text.length - 1, text);
    assert.ok(!/[\r\0]/.test(text), text);
  }
  const { frame } = messageEncoder({
    ...defaults,
    syslogMessageFormat: 'RFC_5424',
  } as unknown as SyslogConfig);
  const data = frame({ message: 'm', timestampMs: 0, structuredData: { x: { y: 'z"] forged \\\n' } } });
  assert.ok(String(data).endsWith(' [x y="z\\"\\] forged \\\\#012"] m\n'), String(data));
});

test('messages in a row keep their own times and severities', () => {
  const { rows } = messageEncoder({
    ...defaults,
    syslogMessageFormat: 'RFC_5424',
  } as unknown as SyslogConfig);
  const items = [
    { message: 'a', timestampMs: 0 },
    { message: 'b', timestampMs: 1, severity: 'ERROR' as const },
    { message: 'c', timestampMs: 1 },
    { message: 'd', timestampMs: 1, structuredData: { x: { y: 'ü' } } },
  ];
  const text = [
    '<110>1 1970-01-01T00:00:00.000Z gateway-1 Apinizer - - - a\n',
    '<107>1 1970-01-01T00:00:00.001Z gateway-1 Apinizer - - - b\n',
    '<110>1 1970-01-01T00:00:00.001Z gateway-1 Apinizer - - - c\n',
  ].join('');
  assert.deepEqual(rows!.take(items, 0, 3, 65_536), { count: 3, text, bytes: text.length });
  // Structured data beyond ASCII is looked at with care, as everything is where ASCII alone is plain.
  assert.equal(rows!.take(items, 1, 3, 65_536), undefined);
});
