import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConnection } from '../../contract/validation.ts';
import { syslog } from './syslog.definition.ts';
import { messageEncoder, type SyslogConfig } from './syslog-message.ts';

function encoded(body: object, severity?: string): string {
  const result = parseConnection(syslog, {
    type: 'syslog',
    name: 'n',
    syslogServerHostname: 'syslog.example.com',
    ...body,
  });
  assert.ok(result.ok, JSON.stringify(result));
  const encode = messageEncoder(result.config as unknown as SyslogConfig);
  return encode({ message: 'm', ...(severity ? { severity } : {}) } as never);
}

/** PRI, which stands first in every format. */
const priorityOf = (text: string) => Number(/^(?:\d+ )?<(\d{1,3})>/.exec(text)?.[1]);

test('every facility and severity has its number of RFC 5424', () => {
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
  for (const syslogMessageFormat of ['RFC_3164', 'RFC_5424', 'RFC_5425']) {
    for (const [syslogFacility, code] of Object.entries(facilities))
      assert.equal(priorityOf(encoded({ syslogMessageFormat, syslogFacility })), code * 8 + 6);
    for (const [severity, code] of Object.entries(severities)) {
      assert.equal(priorityOf(encoded({ syslogMessageFormat }, severity)), 13 * 8 + code, 'of a message');
      const own = encoded({ syslogMessageFormat, syslogSeverity: severity });
      assert.equal(priorityOf(own), 13 * 8 + code, 'of the connection');
    }
  }
});
