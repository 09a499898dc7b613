import { enableCompileCache } from 'node:module';

// As the product does: whatever follows comes from the compile cache.
enableCompileCache(process.env['BENCH_COMPILE_CACHE']!);

const { DatabaseSync } = await import('node:sqlite');
const { default: Fastify } = await import('fastify');

const database = new DatabaseSync(process.env['BENCH_DATABASE']!);
database.exec('pragma locking_mode = exclusive');
database.exec('pragma journal_mode = wal');
database.exec('pragma synchronous = full');
database.exec('create table if not exists rows (id integer primary key, body text)');

const app = Fastify();
app.get('/', async () => ({ success: true }));
await app.listen({ host: '127.0.0.1', port: 0 });
process.stdout.write('{"message":"listening on"}\n');
process.on('SIGTERM', () => process.exit(0));
