import { randomUUID } from 'node:crypto';
import type { Queries } from './database.ts';

/** A place in the history of one database. */
export interface Position {
  /** Random id of the database's life. */
  epoch: string;
  /** Number of the last change. */
  seq: number;
}

/** Gives a database that has no epoch yet its first. */
export async function beginEpoch(tx: Pick<Queries, 'run'>): Promise<void> {
  await tx.run("insert into meta (key, value) values ('epoch', $1) on conflict (key) do nothing", [
    randomUUID(),
  ]);
}

/** Where the database stands; never kept, since a replica may have stored another epoch. */
export async function positionOf(queries: Pick<Queries, 'get'>): Promise<Position> {
  const row = await queries.get<Position>(
    "select m.value as epoch, c.value as seq from meta m cross join change_counter c where m.key = 'epoch' and c.id = 1",
  );
  return row!;
}

/**
 * Answers where the database stands, under a new epoch when it lies before `told`: only what is durable
 * is told, so that it must have been restored from a backup, and give numbers out anew that were used.
 */
export async function positionAfter(
  tx: Pick<Queries, 'get' | 'run'>,
  told: Position | undefined,
): Promise<Position & { wentBack: boolean }> {
  const found = await positionOf(tx);
  const wentBack = told?.epoch === found.epoch && told.seq > found.seq;
  if (!wentBack) return { ...found, wentBack };
  // Another replica may be faster.
  await tx.run("update meta set value = $1 where key = 'epoch' and value = $2", [randomUUID(), found.epoch]);
  return { ...(await positionOf(tx)), wentBack };
}
