import { startSmtpSink } from '../scripts/smtp-sink.ts';
import type { Arrivals } from './arrivals.ts';
import { host, newPassword, type Target } from './target.ts';

/** A mail server whose one account may send to anybody; what it takes goes to the inbox page. */
export async function startMail(arrivals: Arrivals): Promise<Target> {
  const username = 'shop@demo.example';
  const password = newPassword();
  const sink = await startSmtpSink({
    port: 0,
    account: { username, password },
    onMail(recipients, content) {
      const subject = /^subject:[ \t]*(.*)$/im.exec(content)?.[1] ?? '';
      arrivals.add({ To: recipients.join(', '), Subject: subject }, content);
    },
  });
  return {
    connections: [
      {
        type: 'email',
        name: 'order-mail',
        description: 'Confirmations to customers. What is sent lands in the inbox page of the demo.',
        host,
        port: sink.port,
        auth: true,
        username,
        password,
        enableStartTls: false,
        from: username,
        addressToTest: 'operations@demo.example',
      },
    ],
    stop: sink.stop,
  };
}
