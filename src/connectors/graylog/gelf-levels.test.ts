import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConnection } from '../../contract/validation.ts';
import { type GraylogConfig, streamFrame } from './gelf-message.ts';
import { graylog } from './graylog.definition.ts';

/** The level on the wire, of a message or of the connection. */
function levelOf(body: object, item: object): unknown {
  const result = parseConnection(graylog, {
    type: 'graylog',
    name: 'n',
    hostname: 'graylog.example.com',
    ...body,
  });
  assert.ok(result.ok, JSON.stringify(result));
  const frame = streamFrame(result.config as unknown as GraylogConfig, { message: 'm', ...item } as never);
  const text = typeof frame === 'string' ? frame : Buffer.concat(frame).toString();
  return JSON.parse(text.replace(/\0$/, '')).level;
}

test('every level has its number of syslog, as GELF demands', () => {
  const levels = { EMERGENCY: 0, ALERT: 1, CRITICAL: 2, ERROR: 3, WARNING: 4, NOTICE: 5, INFO: 6, DEBUG: 7 };
  for (const [level, number] of Object.entries(levels)) {
    assert.equal(levelOf({}, { level }), number, 'of a message');
    assert.equal(levelOf({ gelfMessageLevel: level }, {}), number, 'of the connection');
  }
});
