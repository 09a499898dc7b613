import type { Database } from './database.ts';
import { beginEpoch } from './epoch.ts';
import { type Migration, migrations as ours } from './migrations/migrations.ts';

/** Key of the advisory lock under which replicas migrate one after another. */
const advisoryLock = 7_581_204_436;

/**
 * Brings a database to this program's schema, one transaction a migration. Throws where a newer
 * program has migrated it further.
 */
export async function migrate(database: Database, migrations: readonly Migration[] = ours): Promise<void> {
  while (await migrateOnce(database, migrations));
}

/** Migrates, and gives a database its epoch at its first start. */
export async function establish(database: Database): Promise<void> {
  await migrate(database);
  const begun = await database.get("select value from meta where key = 'epoch'");
  if (!begun) await database.write(beginEpoch);
}

function migrateOnce(database: Database, migrations: readonly Migration[]): Promise<boolean> {
  return database.write(async (tx) => {
    if (database.dialect === 'postgres')
      await tx.all('select pg_advisory_xact_lock($1::bigint)', [advisoryLock]);
    await tx.run(
      'create table if not exists migrations (number integer primary key, name text not null, at bigint not null)',
    );
    const row = await tx.get<{ last: number | null }>('select max(number) as last from migrations');
    const last = row?.last ?? 0;
    const newest = migrations.at(-1)?.number ?? 0;
    if (last > newest)
      throw new Error(
        `The database was migrated to version ${last} by a newer Plugboard, and this one knows ` +
          `versions up to ${newest}: start the newer program, or restore the backup made before the upgrade`,
      );
    const next = migrations.find((migration) => migration.number > last);
    if (!next) return false;
    await next.up(tx.builder, database.dialect);
    await tx.run('insert into migrations (number, name, at) values ($1, $2, $3)', [
      next.number,
      next.name,
      Date.now(),
    ]);
    return true;
  });
}
