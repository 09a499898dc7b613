import { type AddressInfo, createServer } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PostgresSession, Turns } from './postgres-session.ts';
import { host } from './target.ts';

const account = workerData as { username: string; password: string };

const db = await PGlite.create();
await db.exec(`
  create table customers (id integer primary key, name text not null, mail text not null);
  create table orders (
    id integer primary key, customer_id integer not null references customers,
    article text not null, amount numeric(10, 2) not null, ordered_at timestamptz not null default now());
  insert into customers values
    (1, 'Ada Lovelace', 'ada@demo.example'), (2, 'Grace Hopper', 'grace@demo.example');
  insert into orders (id, customer_id, article, amount) values
    (1001, 1, 'Plugboard, 24 jacks', 480.00), (1002, 2, 'Patch cord, red', 12.50),
    (1003, 1, 'Patch cord, blue', 12.50);
`);
const { rows } = await db.query<{ server_version: string }>('show server_version');
const turns = new Turns();
const server = createServer(
  (socket) => new PostgresSession(socket, { db, turns, account, version: rows[0]!.server_version }),
);
server.listen(0, host, () => parentPort!.postMessage((server.address() as AddressInfo).port));
