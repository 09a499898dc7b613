import { createServer, type Socket } from 'node:net';
import { gelfLevels } from '../src/connectors/graylog/graylog.definition.ts';
import { syslogFacilities, syslogSeverities } from '../src/connectors/syslog/syslog.definition.ts';
import type { Arrivals } from './arrivals.ts';
import { host, listen, type Target } from './target.ts';

const maxMessageBytes = 1024 * 1024;

/** Listens for syslog over TCP, framed by lengths or by newlines (RFC 6587). */
export async function startSyslog(arrivals: Arrivals): Promise<Target> {
  const listener = await startListener(takeSyslogFrame, (message) => {
    const [, priority, text = ''] = /^<(\d{1,3})>([\s\S]*)$/.exec(message) ?? [];
    if (priority === undefined) return arrivals.add({ From: 'syslog', Level: '?' }, message);
    const facility = syslogFacilities[Number(priority) >> 3] ?? '?';
    const severity = syslogSeverities[Number(priority) & 7] ?? '?';
    arrivals.add({ From: 'syslog', Level: severity, Facility: facility }, text);
  });
  return {
    connections: [
      {
        type: 'syslog',
        name: 'audit-log',
        description: 'Who did what, to the central log. What is sent shows on the log page of the demo.',
        syslogServerHostname: host,
        syslogPort: listener.port,
        syslogMessageFormat: 'RFC_5424',
        syslogAppName: 'shop',
        syslogTimeout: 5000,
      },
    ],
    stop: listener.stop,
  };
}

/** Listens for GELF over TCP: each message ends with a null byte. */
export async function startGelf(arrivals: Arrivals): Promise<Target> {
  const listener = await startListener(
    (buffer) => takeUntil(buffer, 0),
    (message) => {
      try {
        const { short_message, full_message, level, version, timestamp, ...rest } = JSON.parse(message);
        arrivals.add(
          { From: 'GELF', Level: gelfLevels[level] ?? '?' },
          [short_message, full_message, JSON.stringify(rest)].filter(Boolean).join('\n'),
        );
      } catch {
        arrivals.add({ From: 'GELF', Level: 'no GELF' }, message);
      }
    },
  );
  return {
    connections: [
      {
        type: 'graylog',
        name: 'application-log',
        description: 'Log of the shop, as GELF. What is sent shows on the log page of the demo.',
        hostname: host,
        port: listener.port,
        reconnectDelay: 500,
      },
    ],
    stop: listener.stop,
  };
}

interface Frame {
  message: Buffer;
  rest: Buffer;
}

async function startListener(
  take: (buffer: Buffer) => Frame | undefined,
  onMessage: (message: string) => void,
): Promise<{ port: number; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    let buffer: Buffer = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      for (let frame = take(buffer); frame; frame = take(buffer)) {
        buffer = frame.rest;
        if (frame.message.length > 0) onMessage(frame.message.toString());
      }
      if (buffer.length > maxMessageBytes) socket.destroy();
    });
  });
  const port = await listen(server);
  return {
    port,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function takeSyslogFrame(buffer: Buffer): Frame | undefined {
  // A message begins with "<", so a digit is a length.
  const counted = /^(\d{1,7}) /.exec(buffer.subarray(0, 8).toString('latin1'));
  if (!counted) return takeUntil(buffer, 0x0a);
  const start = counted[0].length;
  const end = start + Number(counted[1]);
  return buffer.length < end
    ? undefined
    : { message: buffer.subarray(start, end), rest: buffer.subarray(end) };
}

function takeUntil(buffer: Buffer, end: number): Frame | undefined {
  const at = buffer.indexOf(end);
  return at < 0 ? undefined : { message: buffer.subarray(0, at), rest: buffer.subarray(at + 1) };
}
