import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { parseConnection } from '../../contract/validation.ts';
import { graylogConnector } from './graylog.connector.ts';
import { graylog } from './graylog.definition.ts';

const levels = { EMERGENCY: 0, ALERT: 1, CRITICAL: 2, ERROR: 3, WARNING: 4, NOTICE: 5, INFO: 6, DEBUG: 7 };

test('every level has its number of syslog, as GELF demands', async (t) => {
  let received = '';
  const peer = await startPeer(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      received += bytes.toString();
    });
  });
  const log = async (gelfMessageLevel: string, messages: object[]) => {
    const body = { type: 'graylog', name: 'n', hostname: '127.0.0.1', port: peer.port, gelfMessageLevel };
    const parsed = parseConnection(graylog, body);
    assert.ok(parsed.ok, JSON.stringify(parsed));
    const ctx = createContext({ signal: new AbortController().signal });
    const live = await graylogConnector.open(parsed.config as never, ctx);
    const call = { signal: AbortSignal.timeout(30_000) };
    await graylogConnector.operations.log(live, { messages } as never, call);
    await graylogConnector.close(live);
    await peer.allClosed();
    const seen = received.split('\0').filter(Boolean);
    received = '';
    return seen.map((text) => JSON.parse(text).level);
  };
  const named = Object.keys(levels).map((level) => ({ message: 'm', level }));
  assert.deepEqual(await log('INFO', named), Object.values(levels), 'of the messages');
  for (const [level, number] of Object.entries(levels))
    assert.deepEqual(await log(level, [{ message: 'm' }]), [number], 'of the connection');
});
