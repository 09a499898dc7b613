/**
 * A real SMTP server that keeps nothing: it takes every log-in and prints each mail it gets, for
 * trying things out. Usage: node scripts/smtp-sink.ts [PORT], default 2525; loopback only.
 */
import { SMTPServer } from 'smtp-server';

const port = Number(process.argv[2] ?? 2525);

const server = new SMTPServer({
  name: 'smtp-sink',
  authOptional: true,
  allowInsecureAuth: true,
  disabledCommands: ['STARTTLS'],
  onAuth: (auth, _session, done) => done(null, { user: auth.username }),
  onData(stream, session, done) {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const recipients = session.envelope.rcptTo.map(({ address }) => address).join(', ');
      console.log(`--- mail to ${recipients}\n${Buffer.concat(chunks).toString()}`);
      done(null, 'taken');
    });
  },
});
server.on('error', (error) => {
  console.error(`smtp-sink: ${error.message}`);
  process.exitCode = 1;
});
server.listen(port, '127.0.0.1', () => console.log(`smtp-sink: listening on 127.0.0.1:${port}`));
