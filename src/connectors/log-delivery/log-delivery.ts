import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors.ts';
import { abortError, type CallContext, type ConnectorContext, type Stages } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { type DatagramTarget, openDatagrams } from './datagram-channel.ts';
import { type Encoder, type Frame, Outbox, type OutboxOptions } from './outbox.ts';
import {
  classifyChannelError,
  connectStream,
  openStream,
  StreamChannel,
  type StreamTarget,
  secureStream,
  settleStream,
} from './stream-channel.ts';

/** The one receiver of a connection, and how it is reached. */
export type LogTarget =
  | ({ transport: 'stream' } & StreamTarget)
  | ({ transport: 'datagram' } & DatagramTarget);

export interface LiveDelivery {
  readonly target: LogTarget;
  readonly outbox: Outbox;
  /** Aborted by `close`, and with the context of `open`. */
  readonly ended: AbortSignal;
  close(): Promise<void>;
}

/** The live half of a log connection: nothing is dialled before there is something to send. */
export function openDelivery(
  target: LogTarget,
  queue: Omit<OutboxOptions, 'open' | 'resends'>,
  { signal }: Pick<ConnectorContext, 'signal'>,
): LiveDelivery {
  const outbox = new Outbox({
    ...queue,
    resends: target.transport === 'stream',
    open: (dialSignal) =>
      target.transport === 'stream' ? openStream(target, dialSignal) : openDatagrams(target, dialSignal),
  });
  const end = new AbortController();
  const close = async (force = false) => {
    signal.removeEventListener('abort', closeByForce);
    end.abort(new AppError('cancelled', 'The connection was closed'));
    await outbox.close(force);
  };
  const closeByForce = () => void close(true);
  signal.addEventListener('abort', closeByForce, { once: true });
  return { target, outbox, ended: end.signal, close: () => close(signal.aborted) };
}

/** Proves the way without a message, which would be in the log each time: connects, or resolves for UDP. */
export async function proveDelivery({ target, ended }: LiveDelivery, call: CallContext): Promise<void> {
  const signal = AbortSignal.any([call.signal, ended]);
  if (target.transport === 'datagram') {
    await target.network.resolve(target.host, signal);
    return;
  }
  const channel = await openStream(target, signal);
  await channel.close();
}

interface LogResults {
  accepted: number;
  results: { accepted: boolean; error?: { code: string; message: string; retryable: boolean } }[];
}

/**
 * Sends the items and answers for each. A call of which nothing was accepted for one and the same
 * reason fails with it, as a call with a single item does.
 */
export async function deliver<Item>(
  { outbox, ended }: LiveDelivery,
  items: readonly Item[],
  encoder: Encoder<Item>,
  call: CallContext,
): Promise<LogResults> {
  const outcomes = await outbox.send(items, encoder, call);
  // What waited in the outbox has been given up by then.
  if (ended.aborted) throw abortError(ended.reason);
  // As nearly always.
  if (outcomes.every(isUndefined))
    return { accepted: outcomes.length, results: new Array(outcomes.length).fill(taken) };
  const [first] = outcomes;
  if (first && outcomes.every((outcome) => outcome?.code === first.code)) throw first;
  let accepted = 0;
  const results: LogResults['results'] = [];
  for (const outcome of outcomes) {
    if (!outcome) accepted++;
    results.push(outcome ? refused(outcome) : taken);
  }
  return { accepted, results };
}

/** One for all of them: a list of them is as long as the call. */
const taken = Object.freeze({ accepted: true });

function isUndefined(outcome: AppError | undefined): boolean {
  return outcome === undefined;
}

function refused({ code, message, retryable }: AppError): LogResults['results'][number] {
  return { accepted: false, error: { code, message, retryable } };
}

export interface TestMessage {
  frame: Frame;
  /** What the receiver will find, for the verdict. */
  text: string;
  /** Name of the protocol. */
  protocol: string;
  /** Whether the certificate is verified, and by which field that is said. */
  verification: { field: string; on: boolean };
}

/** The stages of a test, which leaves one message in the log. */
export async function testDelivery(
  target: LogTarget,
  message: TestMessage,
  stages: Stages,
  { network, signal }: ConnectorContext,
): Promise<void> {
  const { host, port } = target;
  const { protocol } = message;
  await stages.run('resolve', async (note) => {
    const addresses = await network.resolve(host, signal);
    note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
  });
  const sent = `one message was sent at DEBUG: ${message.text}`;

  if (target.transport === 'datagram') {
    stages.skip('connect', 'UDP has no connection');
    stages.skip('tls', `${protocol} over UDP has no TLS: whatever is sent can be read on the way`);
    stages.skip('authenticate', `${protocol} has no log-in`);
    await stages.run('operate', async (note) => {
      const channel = await openDatagrams(target, signal);
      try {
        await channel.write([message.frame]);
        await sleep(refusalMs, undefined, { signal }).catch(() => {
          throw abortError(signal.reason);
        });
        if (channel.reported) throw channel.reported;
        note.detail(sent);
        note.hint('UDP is never answered: look into the log whether the message has arrived.');
      } finally {
        channel.destroy();
      }
    });
    return;
  }

  const open: { destroy(): void }[] = [];
  try {
    let channel = await stages.run('connect', async (note) => {
      const socket = await connectStream(target, signal);
      open.push(socket);
      note.detail(`${socket.remoteAddress} port ${port}`);
      return target.tls ? socket : settleStream(target, socket, signal);
    });
    if (!(channel instanceof StreamChannel)) {
      const socket = channel;
      channel = await stages.run('tls', async (note) => {
        const secured = await secureStream(target, socket, signal);
        open.push(secured);
        note.detail(describeTls(secured, 'implicit'));
        if (!message.verification.on)
          note.hint(`The certificate is not verified: ${message.verification.field} is off.`);
        return settleStream(target, secured, signal);
      });
    } else {
      stages.skip('tls', 'plain TCP: whatever is sent can be read on the way');
    }
    const ready = channel;
    open.push(ready);
    stages.skip('authenticate', `${protocol} has no log-in of its own`);
    await stages.run('operate', async (note) => {
      await ready.write([message.frame]);
      await ready.settle(signal);
      note.detail(sent);
      note.hint(`${protocol} is never answered: look into the log whether the message has arrived.`);
      await ready.close();
    });
  } finally {
    for (const each of open) each.destroy();
  }
}

/** How long a refusal (ICMP) is waited for. */
const refusalMs = 200;

/** An error of a socket or a signal as one of ours; ours pass as they are. */
export function classifyDelivery(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { name } = (error ?? {}) as { name?: unknown };
  if (name === 'TimeoutError') return new AppError('target_timeout', undefined, { cause: error });
  if (name === 'AbortError') return new AppError('cancelled', undefined, { cause: error });
  return classifyChannelError(error);
}
