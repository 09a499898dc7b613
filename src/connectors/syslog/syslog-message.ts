import { hostname } from 'node:os';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { type syslog, syslogFacilities, syslogSeverities } from './syslog.definition.ts';

export type SyslogConfig = ConfigOf<typeof syslog>;
export type LogInput = InputOf<(typeof syslog)['operations']['log']>;
export type SyslogItem = NonNullable<LogInput['messages']>[number];

/** Whether the transport carries a newline inside a message without ending it. */
export type Framing = 'newline' | 'octet-counted' | 'datagram';

/** How messages are told apart, as the configuration says (RFC 6587 3.4, RFC 5425 4.3, RFC 5426 3.1). */
export function framingOf(config: SyslogConfig): Framing {
  const { framing, syslogMessageFormat, syslogProtocolType } = config;
  if (syslogProtocolType === 'UDP') return 'datagram';
  const isCounted =
    framing === 'OCTET_COUNTING' || (framing === 'AUTO' && syslogMessageFormat === 'RFC_5425');
  return isCounted ? 'octet-counted' : 'newline';
}

/** One message as bytes for the wire, framing included. */
export function encodeMessage(config: SyslogConfig, item: SyslogItem): Buffer {
  const framing = framingOf(config);
  const text =
    config.syslogMessageFormat === 'RFC_3164'
      ? formatRfc3164(config, item)
      : formatRfc5424(config, item, framing !== 'newline');
  const bytes = Buffer.from(framing === 'newline' ? `${text}\n` : text);
  return framing === 'octet-counted' ? Buffer.concat([Buffer.from(`${bytes.length} `), bytes]) : bytes;
}

/** RFC 3164 4.1: one printable line, the time local and without year. */
function formatRfc3164(config: SyslogConfig, item: SyslogItem): string {
  const time = bsdTimestamp(new Date(item.timestampMs ?? Date.now()));
  const { syslogAppName } = config;
  return `<${priority(config, item)}>${time} ${hostOf(config)} ${syslogAppName}: ${escapeControls(item.message)}`;
}

/** RFC 5424 6: a header, structured data, and the message, marked as UTF-8 where it is not plain ASCII. */
function formatRfc5424(config: SyslogConfig, item: SyslogItem, keepsNewlines: boolean): string {
  const time = new Date(item.timestampMs ?? Date.now()).toISOString();
  const clean = (text: string) => escapeControls(text, keepsNewlines);
  const header = [
    `<${priority(config, item)}>1`,
    time,
    hostOf(config),
    config.syslogAppName,
    '-',
    item.msgId ?? '-',
    item.structuredData ? structuredData(item.structuredData, clean) : '-',
  ].join(' ');
  const message = clean(item.message);
  return `${header} ${/^[\x00-\x7f]*$/.test(message) ? '' : byteOrderMark}${message}`;
}

const byteOrderMark = '\ufeff';

function priority(config: SyslogConfig, item: SyslogItem): number {
  const severity = item.severity ?? config.syslogSeverity;
  return syslogFacilities.indexOf(config.syslogFacility) * 8 + syslogSeverities.indexOf(severity);
}

function structuredData(
  elements: Record<string, Record<string, string>>,
  clean: (text: string) => string,
): string {
  const written = Object.entries(elements).map(([id, params]) => {
    const pairs = Object.entries(params).map(
      ([name, value]) => ` ${name}="${clean(value).replace(/[\\"\]]/g, '\\$&')}"`,
    );
    return `[${id}${pairs.join('')}]`;
  });
  return written.join('') || '-';
}

/**
 * Control characters as `#` and three octal digits, which is how rsyslog writes them; a tab stays, and a
 * newline where the framing carries it.
 */
function escapeControls(text: string, keepsNewlines = false): string {
  if (!/[\x00-\x1f\x7f]/.test(text)) return text;
  return text.replace(
    keepsNewlines ? /[\x00-\x08\x0b-\x1f\x7f]/g : /[\x00-\x08\x0a-\x1f\x7f]/g,
    (control) => {
      return `#${control.charCodeAt(0).toString(8).padStart(3, '0')}`;
    },
  );
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Mmm dd hh:mm:ss` of the local time; a day below 10 has a space in front. */
function bsdTimestamp(date: Date): string {
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  return `${months[date.getMonth()]} ${String(date.getDate()).padStart(2, ' ')} ${clock}`;
}

const ownHost =
  hostname()
    .replace(/[^!-~]/g, '-')
    .slice(0, 255) || '-';

function hostOf({ syslogMessageHostname }: SyslogConfig): string {
  return syslogMessageHostname ?? ownHost;
}
