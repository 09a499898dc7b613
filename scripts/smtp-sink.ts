/**
 * A real SMTP server that keeps nothing: it takes every log-in and prints each mail it gets, for
 * trying things out. Usage: node scripts/smtp-sink.ts [PORT], default 2525; loopback only.
 */
import { timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

interface SmtpSinkOptions {
  /** 0: any free one. */
  port: number;
  /** The one that may send; left out: everybody may, with any log-in or none. */
  account?: { username: string; password: string };
  onMail(recipients: string[], content: string): void;
}

/** Starts a sink on the loopback address; fails when the port is taken. */
export async function startSmtpSink({
  port,
  account,
  onMail,
}: SmtpSinkOptions): Promise<{ port: number; stop(): Promise<void> }> {
  const server = new SMTPServer({
    name: 'smtp-sink',
    authOptional: account === undefined,
    allowInsecureAuth: true,
    disabledCommands: ['STARTTLS'],
    disableReverseLookup: true,
    closeTimeout: 100,
    onAuth({ username, password }, _session, done) {
      if (!account || (username === account.username && isSame(password ?? '', account.password)))
        return done(null, { user: username ?? '' });
      done(Object.assign(new Error('5.7.8 authentication failed'), { responseCode: 535 }));
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        onMail(
          session.envelope.rcptTo.map(({ address }) => address),
          Buffer.concat(chunks).toString(),
        );
        done(null, 'taken');
      });
    },
  });
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    port: (server.server.address() as AddressInfo).port,
    stop: () => new Promise((resolve) => server.close(resolve)),
  };
}

function isSame(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

if (import.meta.main) {
  try {
    const { port } = await startSmtpSink({
      port: Number(process.argv[2] ?? 2525),
      onMail: (recipients, content) => console.log(`--- mail to ${recipients.join(', ')}\n${content}`),
    });
    console.log(`smtp-sink: listening on 127.0.0.1:${port}`);
  } catch (error) {
    console.error(`smtp-sink: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
