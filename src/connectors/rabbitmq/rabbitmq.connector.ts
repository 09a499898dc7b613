import { itemsOf } from '../../contract/one-or-many.ts';
import { AppError } from '../../errors.ts';
import {
  type CallContext,
  type ConnectorContext,
  defineConnector,
  type Stages,
  untilAborted,
} from '../connector.ts';
import { type HostOpening, type HostTarget, openOnAnyHost, testHosts } from '../messaging/host-failover.ts';
import { SharedClient } from '../messaging/shared-client.ts';
import {
  composeMessage,
  describeMessage,
  type MessageInput,
  type OutgoingMessage,
  type PublishInput,
} from './amqp-message.ts';
import { AmqpSession } from './amqp-session.ts';
import { rabbitMq } from './rabbitmq.definition.ts';
import { adviceFor, classifyRabbitMqError } from './rabbitmq-errors.ts';
import { type RabbitMqConfig, type RabbitMqSettings, readSettings } from './rabbitmq-settings.ts';

interface LiveRabbitMq {
  readonly config: RabbitMqConfig;
  readonly session: SharedClient<AmqpSession>;
  /** Aborted by close and by the worker. */
  readonly signal: AbortSignal;
  readonly closing: AbortController;
}

/** Publishes by amqplib's protocol half over sockets of the worker's network. */
export const rabbitMqConnector = defineConnector<typeof rabbitMq, LiveRabbitMq>(rabbitMq, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const closing = new AbortController();
    return {
      config,
      session: new SharedClient((signal) => openOnAnyHost(opening(settings), signal)),
      signal: AbortSignal.any([ctx.signal, closing.signal]),
      closing,
    };
  },

  async prove(live, call) {
    const signal = AbortSignal.any([live.signal, call.signal]);
    const session = await live.session.get(signal);
    await session.prove(live.config.channelExchange, signal);
  },

  test: (config, stages, ctx) => testStages(config, stages, ctx),

  operations: {
    // Closing ends the session, and with it whatever waits here: the call's own signal is enough.
    publish: (live, input, call) =>
      input.messages === undefined ? publishOne(live, input, call) : publishMany(live, input, call),

    async get(live, { queue, maxMessages = 1, acknowledge = false }, call) {
      const signal = AbortSignal.any([live.signal, call.signal]);
      const session = await live.session.get(signal);
      const { messages, remaining } = await session.get({ queue, maxMessages, acknowledge }, signal);
      return { messages: messages.map(describeMessage), remaining };
    },
  },

  figures: ({ session: { current } }) => ({
    connections: current ? 1 : 0,
    ...(current?.figures ?? { channels: 0, unconfirmed: 0, blocked: 0 }),
  }),

  async close(live) {
    if (live.signal.aborted) live.session.destroy();
    live.closing.abort(new AppError('cancelled', 'The connection was closed'));
    await live.session.close();
  },

  classify: classifyRabbitMqError,
});

function opening(settings: RabbitMqSettings): HostOpening<HostTarget, AmqpSession> {
  return {
    targets: settings.targets,
    network: settings.network,
    connectTimeoutMs: settings.connectTimeoutMs,
    start: (_target, socket, signal) => AmqpSession.start(socket, settings, signal),
    classify: classifyRabbitMqError,
  };
}

async function publishOne({ config, session: shared }: LiveRabbitMq, item: MessageInput, call: CallContext) {
  const session = shared.current ?? (await shared.get(call.signal));
  const sent = session.publish(composeMessage(item, config), call);
  const outcome = sent instanceof Promise ? await untilAborted(call, sent) : sent;
  if (outcome) throw outcome;
  return { published: 1, results: [{ confirmed: true }] };
}

async function publishMany(live: LiveRabbitMq, input: PublishInput, call: CallContext) {
  const outcomes = await publishAll(live, itemsOf(input), call);
  return {
    published: outcomes.filter((outcome) => outcome === undefined).length,
    results: outcomes.map((outcome) => {
      if (outcome === undefined) return { confirmed: true };
      const { code, message, retryable } = outcome;
      return { confirmed: false, error: { code, message, retryable } };
    }),
  };
}

/** Messages of one call that wait for the server's word at most. */
const window = 1000;

/** Publishes in order; what was not handed to a connection before it was lost goes to the next one. */
async function publishAll(
  { config, session: shared }: LiveRabbitMq,
  items: MessageInput[],
  call: CallContext,
): Promise<(AppError | undefined)[]> {
  const outcomes: (AppError | undefined | Promise<AppError | undefined>)[] = [];
  const { signal } = call;
  let session = await shared.get(signal);
  let unreachable: AppError | undefined;
  for (const item of items) {
    if (outcomes.length >= window)
      await untilAborted({ signal }, Promise.resolve(outcomes[outcomes.length - window]));
    if (!session.alive && !unreachable)
      try {
        session = await shared.get(signal);
      } catch (error) {
        unreachable = classifyRabbitMqError(error);
      }
    if (unreachable) {
      outcomes.push(unreachable);
      continue;
    }
    let message: OutgoingMessage;
    try {
      message = composeMessage(item, config);
    } catch (error) {
      outcomes.push(classifyRabbitMqError(error));
      continue;
    }
    const isProven = session.isProven(message);
    const outcome = session.publish(message, call);
    outcomes.push(outcome);
    // What follows must not overtake a message that travels alone.
    if (!isProven) await outcome;
  }
  return untilAborted({ signal }, Promise.all(outcomes));
}

async function testStages(config: RabbitMqConfig, stages: Stages, ctx: ConnectorContext): Promise<void> {
  const settings = readSettings(config, ctx);
  const { signal } = ctx;
  const { client: session } = await testHosts(
    stages,
    opening(settings),
    {
      plainReason: 'plain, as configured (connectionFactoryUseSslProtocol)',
      describe: (opened) =>
        `${opened.server}: ${settings.username} in the virtual host ${settings.virtualHost}; ${opened.agreed}`,
      advise: (failure, target) => adviceFor(failure, target, settings),
    },
    signal,
  );
  try {
    await stages.run('operate', async (note) => {
      const { channelExchange: exchange, channelRoutingKey: routingKey } = config;
      await session.prove(exchange, signal);
      await session.rehearse(composeMessage({ body: '' }, config), signal);
      const target = exchange === '' ? 'the default exchange' : `the exchange '${exchange}'`;
      if (exchange === '' && routingKey) {
        const count = await session.countMessages(routingKey, signal);
        note.detail(
          `may publish to the queue '${routingKey}', in which ${count} messages wait; none was sent`,
        );
      } else note.detail(`may publish to ${target}; no message was sent`);
    });
  } finally {
    await session.close();
  }
}
