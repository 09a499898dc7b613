import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface LostCommits {
  /** The server's URL, through here. */
  readonly url: string;
  /**
   * The next commit of a transaction in which `text` was sent is made by the server, and its
   * connection ends before the answer is passed on. Resolves when that has happened.
   */
  loseNext(text: string): Promise<void>;
  stop(): Promise<void>;
}

/** Stands between a client and its PostgreSQL, to lose the answers of commits. */
export async function startLostCommits(postgresUrl: string): Promise<LostCommits> {
  const target = new URL(postgresUrl);
  const sockets = new Set<Socket>();
  let armed: { text: string; lost: () => void } | undefined;

  const proxy = createServer((client) => {
    const server = connect(Number(target.port), target.hostname);
    let sent = '';
    let losing: (() => void) | undefined;
    const end = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', end).on('close', () => {
        sockets.delete(socket);
        end();
      });
    }
    client.on('data', (data) => {
      if (armed) {
        sent += data.toString('latin1');
        const at = sent.indexOf(armed.text);
        // A simple query, as no other statement is.
        if (at >= 0 && /Q.{4}commit\0/s.test(sent.slice(at))) {
          losing = armed.lost;
          armed = undefined;
        }
      }
      server.write(data);
    });
    server.on('data', (data) => {
      if (!losing) {
        client.write(data);
        return;
      }
      end();
      losing();
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const url = new URL(postgresUrl);
  url.hostname = '127.0.0.1';
  url.port = String((proxy.address() as AddressInfo).port);

  return {
    url: url.href,
    loseNext: (text) => new Promise((lost) => (armed = { text, lost })),
    async stop() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, 'close');
    },
  };
}
