import { itemsOf } from '../../contract/one-or-many.ts';
import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector, type Stages } from '../connector.ts';
import { type HostOpening, openOnAnyHost, testHosts } from '../messaging/host-failover.ts';
import { SharedClient } from '../messaging/shared-client.ts';
import { activeMq } from './activemq.definition.ts';
import { adviceFor, classifyActiveMqError } from './activemq-errors.ts';
import {
  type ActiveMqConfig,
  type ActiveMqSettings,
  type BrokerTarget,
  orderedTargets,
  readSettings,
} from './activemq-settings.ts';
import type { BrokerSession, OutgoingMessage, SendOutcome } from './broker-session.ts';
import { OpenWireSession } from './openwire-session.ts';
import { readMessage, type SendInput } from './send-input.ts';

interface LiveActiveMq {
  readonly settings: ActiveMqSettings;
  readonly session: SharedClient<BrokerSession>;
  /** Aborted by close and by the worker. */
  readonly signal: AbortSignal;
  readonly closing: AbortController;
}

/** Sends to ActiveMQ by an OpenWire client of ours, or by rhea over AMQP 1.0. */
export const activeMqConnector = defineConnector<typeof activeMq, LiveActiveMq>(activeMq, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const closing = new AbortController();
    return {
      settings,
      session: new SharedClient((signal) => openOnAnyHost(opening(settings), signal)),
      signal: AbortSignal.any([ctx.signal, closing.signal]),
      closing,
    };
  },

  async prove(live, call) {
    const signal = AbortSignal.any([live.signal, call.signal]);
    const session = await live.session.get(signal);
    await session.prove(signal);
  },

  test: (config, stages, ctx) => testStages(config, stages, ctx),

  operations: {
    send: (live, input, call) => send(live, input, AbortSignal.any([live.signal, call.signal])),

    async receive(live, { maxMessages = 1, timeoutMs = 1000 }, call) {
      const signal = AbortSignal.any([live.signal, call.signal]);
      const session = await live.session.get(signal);
      return { messages: await session.receive({ maxMessages, timeoutMs }, signal) };
    },
  },

  figures: ({ session: { current } }) => ({
    connections: current ? 1 : 0,
    ...(current?.figures ?? { unanswered: 0, consumers: 0 }),
  }),

  async close(live) {
    if (live.signal.aborted) live.session.destroy();
    live.closing.abort(new AppError('cancelled', 'The connection was closed'));
    await live.session.close();
  },

  classify: classifyActiveMqError,
});

function opening(settings: ActiveMqSettings): HostOpening<BrokerTarget, BrokerSession> {
  return {
    targets: orderedTargets(settings),
    network: settings.network,
    connectTimeoutMs: settings.connectTimeoutMs,
    async start(target, socket, signal) {
      if (settings.protocol === 'TCP') return OpenWireSession.start(target, socket, settings, signal);
      const { AmqpSession } = await import('./amqp-session.ts');
      return AmqpSession.start(target, socket, settings, signal);
    },
    classify: classifyActiveMqError,
  };
}

async function send(live: LiveActiveMq, input: SendInput, signal: AbortSignal) {
  const together = live.settings.acknowledgement === 'SESSION_TRANSACTED';
  // What cannot be sent at all fails alone; of a transaction it fails the whole before anything is sent.
  const read = itemsOf(input).map((item): OutgoingMessage | AppError => {
    try {
      return readMessage(item);
    } catch (error) {
      const failure = classifyActiveMqError(error);
      if (together || input.messages === undefined) throw failure;
      return failure;
    }
  });
  const messages = read.filter((each): each is OutgoingMessage => !(each instanceof AppError));
  const session = await live.session.get(signal);
  const sent = messages.length > 0 ? await session.send(messages, together, signal) : [];
  const outcomes = read.map(
    (each): SendOutcome => (each instanceof AppError ? { error: each } : sent.shift()!),
  );
  const [first] = outcomes;
  if (input.messages === undefined && first && 'error' in first) throw first.error;
  return {
    sent: outcomes.filter((outcome) => 'messageId' in outcome).length,
    results: outcomes.map((outcome) => {
      if ('messageId' in outcome) return outcome;
      const { code, message, retryable } = outcome.error;
      return { error: { code, message, retryable } };
    }),
  };
}

async function testStages(config: ActiveMqConfig, stages: Stages, ctx: ConnectorContext): Promise<void> {
  const settings = readSettings(config, ctx);
  const { signal } = ctx;
  const { client: session } = await testHosts(
    stages,
    opening(settings),
    {
      plainReason: `plain, as brokerURL says; ${settings.protocol === 'TCP' ? 'ssl' : 'amqps'}:// speaks TLS`,
      describe: (opened, { username }) => `${opened.description}; ${username ?? 'anonymous'}`,
      advise: (failure, target) => adviceFor(failure, target, settings),
    },
    signal,
  );
  try {
    await stages.run('operate', async (note) => {
      const { kind, name } = settings.destination;
      const refused = await session.rehearse(signal);
      if (refused.send && refused.receive) throw refused.send;
      const may = [refused.send ? [] : ['send'], refused.receive ? [] : ['receive']].flat();
      const not = [refused.send, refused.receive].flatMap((error) => (error ? [error.message] : []));
      note.detail(
        [`may ${may.join(' and ')}: ${kind} '${name}'; no message was sent or taken`, ...not].join('; '),
      );
      if (not.length > 0) note.hint('Grant the account the missing right if the connection shall use it.');
    });
  } finally {
    await session.close();
  }
}
