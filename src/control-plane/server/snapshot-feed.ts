import { setTimeout as sleep } from 'node:timers/promises';
import { type Channel, sendMessage } from '../../contract/channel.ts';
import type { ToWorker } from '../../contract/worker-protocol.ts';
import { loggableError } from '../../loggable-error.ts';
import type { Deployments } from '../deployments/deployments.service.ts';
import type { Database } from '../store/database.ts';
import { positionOf } from '../store/epoch.ts';
import type { Logger } from './logger.ts';

export interface SnapshotReceiver {
  readonly id: string;
  readonly channel: Channel;
  readonly epoch: string;
  /** Set when the whole snapshot is sent. */
  cursor: number | null;
}

interface Environment {
  id: string;
  name: string;
}

interface Parts {
  db: Database;
  deployments: Pick<Deployments, 'snapshotAfter'>;
  log: Logger;
  isOpen: (receiver: SnapshotReceiver) => boolean;
  onSent: (environment: Environment) => void;
}

/** How long a receiver that does not read holds up the others, once a snapshot. */
const patienceMs = 2_000;
const retryMs = 1_000;

/**
 * Sends snapshots frame by frame, beside the changes of others: one at a time an environment, for all who
 * need it when it begins. Its number is that of before the first frame, so that whatever changes
 * meanwhile is told again after the last.
 */
export class SnapshotFeed {
  readonly #parts: Parts;
  readonly #running = new Set<string>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** While one is under way in the environment nothing begins; `onSent` tells its end. */
  start(environment: Environment, waiting: readonly SnapshotReceiver[]): void {
    const [first] = waiting;
    if (!first || this.#running.has(environment.id)) return;
    this.#running.add(environment.id);
    void this.#run(
      environment,
      waiting.filter(({ epoch }) => epoch === first.epoch),
    ).finally(() => {
      this.#running.delete(environment.id);
      this.#parts.onSent(environment);
    });
  }

  async #run(environment: Environment, receivers: readonly SnapshotReceiver[]): Promise<void> {
    const { db, deployments, log, isOpen } = this.#parts;
    const unread = new Set<SnapshotReceiver>();
    let seq: number | undefined;
    let after = 0;
    for (;;) {
      let frame: Extract<ToWorker, { kind: 'snapshot' }>;
      try {
        seq ??= (await positionOf(db)).seq;
        const { put, upTo, isWhole } = await deployments.snapshotAfter(environment, after);
        // As with changes: a remote worker survives the machine.
        if (receivers.some(({ channel }) => !channel.direct)) await db.durable();
        const { epoch } = receivers[0]!;
        frame = { kind: 'snapshot', epoch, seq, items: put, ...(isWhole ? {} : { more: true }) };
        after = upTo;
      } catch (error) {
        if (!receivers.some(isOpen)) return;
        log.error(
          { err: loggableError(error), environment: environment.name },
          'a snapshot could not be read; trying again',
        );
        await sleep(retryMs, undefined, { ref: false });
        continue;
      }
      const open = receivers.filter(isOpen);
      if (open.length === 0) return;
      sendToAll(open, frame);
      if (!frame.more) {
        for (const receiver of open) receiver.cursor = seq;
        return;
      }
      await untilRead(open, unread);
    }
  }
}

/** One text for all to whom the frame cannot be handed over. */
function sendToAll(receivers: readonly SnapshotReceiver[], frame: ToWorker): void {
  let text: string | undefined;
  for (const { channel } of receivers) {
    if (channel.direct) sendMessage(channel, frame);
    else {
      text ??= JSON.stringify(frame);
      channel.send(text);
    }
  }
}

/** Waits until the frame has left; who takes too long is noted in `unread`, and not waited for again. */
async function untilRead(
  receivers: readonly SnapshotReceiver[],
  unread: Set<SnapshotReceiver>,
): Promise<void> {
  const awaited = new Set(receivers.filter((receiver) => !unread.has(receiver)));
  const patience = new AbortController();
  const all = Promise.all(
    [...awaited].map(async (receiver) => {
      await receiver.channel.flushed?.();
      awaited.delete(receiver);
    }),
  );
  const tired = sleep(patienceMs, undefined, { ref: false, signal: patience.signal }).catch(() => {});
  await Promise.race([all, tired]);
  patience.abort();
  for (const receiver of awaited) unread.add(receiver);
}
