import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { startPeer } from '../../../test/contract/peer.ts';
import { parseConnection } from '../../contract/validation.ts';
import { syslogConnector } from './syslog.connector.ts';
import { syslog } from './syslog.definition.ts';

test('every facility and severity has its number of RFC 5424', async (t) => {
  const facilities = {
    KERN: 0,
    USER: 1,
    MAIL: 2,
    DAEMON: 3,
    AUTH: 4,
    SYSLOG: 5,
    LPR: 6,
    NEWS: 7,
    UUCP: 8,
    CRON: 9,
    AUTHPRIV: 10,
    FTP: 11,
    NTP: 12,
    AUDIT: 13,
    ALERT: 14,
    CLOCK: 15,
    LOCAL0: 16,
    LOCAL1: 17,
    LOCAL2: 18,
    LOCAL3: 19,
    LOCAL4: 20,
    LOCAL5: 21,
    LOCAL6: 22,
    LOCAL7: 23,
  };
  const severities = {
    EMERGENCY: 0,
    ALERT: 1,
    CRITICAL: 2,
    ERROR: 3,
    WARNING: 4,
    NOTICE: 5,
    INFORMATIONAL: 6,
    DEBUG: 7,
  };
  let received = '';
  const peer = await startPeer(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      received += bytes.toString();
    });
  });
  /** PRI of every message that arrives. */
  const log = async (body: object, messages: object[]) => {
    const parsed = parseConnection(syslog, {
      type: 'syslog',
      name: 'n',
      syslogServerHostname: '127.0.0.1',
      syslogPort: peer.port,
      syslogTimeout: 10_000,
      ...body,
    });
    assert.ok(parsed.ok, JSON.stringify(parsed));
    const ctx = createContext({ signal: new AbortController().signal });
    const live = await syslogConnector.open(parsed.config as never, ctx);
    const call = { signal: AbortSignal.timeout(30_000) };
    await syslogConnector.operations.log(live, { messages } as never, call);
    await syslogConnector.close(live);
    await peer.allClosed();
    const priorities = [...received.matchAll(/<(\d{1,3})>/g)].map(([, priority]) => Number(priority));
    received = '';
    return priorities;
  };
  const message = { message: 'm' };
  for (const syslogMessageFormat of ['RFC_3164', 'RFC_5424', 'RFC_5425']) {
    const named = Object.keys(severities).map((severity) => ({ ...message, severity }));
    const expected = Object.values(severities).map((code) => 13 * 8 + code);
    assert.deepEqual(await log({ syslogMessageFormat }, named), expected, 'of the messages');
  }
  for (const [syslogSeverity, code] of Object.entries(severities))
    assert.deepEqual(await log({ syslogSeverity }, [message]), [13 * 8 + code], 'of the connection');
  for (const [syslogFacility, code] of Object.entries(facilities))
    assert.deepEqual(await log({ syslogFacility }, [message]), [code * 8 + 6]);
});
