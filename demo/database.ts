import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { host, newPassword, type Target } from './target.ts';

/** PostgreSQL in a thread of its own, so that a long statement holds up no other target. */
export async function startDatabase(): Promise<Target> {
  const account = { username: 'shop', password: newPassword() };
  const thread = new Worker(new URL('./database-thread.ts', import.meta.url), { workerData: account });
  const [port] = (await once(thread, 'message')) as [number];
  return {
    connections: [
      {
        type: 'database',
        name: 'orders-database',
        description: 'PostgreSQL, embedded. Try query with: select * from orders',
        dbType: 'POSTGRES',
        host,
        port,
        databaseName: 'shop',
        ...account,
      },
    ],
    async stop() {
      await thread.terminate();
    },
  };
}
