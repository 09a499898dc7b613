import { AppError } from '../../errors.ts';
import type { StageNote, Stages } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';
import type { BrokerConnection } from './broker-connection.ts';
import { summary, toLayout } from './kafka-cluster.ts';
import { BrokerError, brokerErrors, classifyKafkaError } from './kafka-errors.ts';
import { addressOf, type Broker, type KafkaSettings } from './kafka-settings.ts';

/** AclOperation codes: the bits of a topic's authorized operations. */
const read = 1 << 3;
const write = 1 << 4;

/** The staged test, on connections of its own. */
export async function testStages(
  settings: KafkaSettings,
  stages: Stages,
  signal: AbortSignal,
): Promise<void> {
  const { BrokerConnection, dialBroker, secureBroker } = await import('./broker-connection.ts');
  const { network, brokers, tls, sasl } = settings;
  const opened: { destroy(): void }[] = [];
  try {
    const resolved = await stages.run('resolve', async (note) => {
      const outcomes = await tryAll(brokers, async (broker) => {
        const addresses = await network.resolve(broker.host, signal);
        return addresses.map(({ address }) => address).join(', ');
      });
      return usable(outcomes, note, ({ host }, addresses) => `${host} → ${addresses}`);
    });

    // Without TLS the first packet belongs to the connection: only its answer tells a broker from another service.
    const connected = await stages.run('connect', async (note) => {
      const outcomes = await tryAll(
        resolved.map(({ broker }) => broker),
        async (broker) => {
          const socket = await dialBroker(settings, broker, signal);
          opened.push(socket);
          if (tls) return { socket, connection: undefined };
          const connection = new BrokerConnection(settings, broker, socket);
          opened.push(connection);
          await connection.greet(signal);
          return { socket, connection };
        },
      );
      const answered = usable(
        outcomes,
        note,
        (broker, { socket }) => `${addressOf(broker)} is ${socket.remoteAddress} port ${socket.remotePort}`,
      );
      return answered[0]!;
    });
    const { broker } = connected;

    let connection: BrokerConnection;
    if (connected.value.connection) {
      connection = connected.value.connection;
      stages.skip('tls', 'in clear, as configured');
    } else {
      connection = await stages.run('tls', async (note) => {
        const secured = await secureBroker(settings, broker, connected.value.socket, signal);
        opened.push(secured);
        note.detail(describeTls(secured, 'implicit'));
        const greeted = new BrokerConnection(settings, broker, secured);
        opened.push(greeted);
        await greeted.greet(signal);
        return greeted;
      });
    }

    if (sasl)
      await stages.run('authenticate', async (note) => {
        const mechanism = await connection.logIn(signal);
        note.detail(`${mechanism} as ${sasl.user}`);
      });
    else
      stages.skip(
        'authenticate',
        tls ? 'no SASL configured; the client certificate, if any, was shown' : 'no SASL configured',
      );

    await stages.run('operate', async (note) => operate(settings, connection, opened, note, signal));
  } finally {
    for (const each of opened) each.destroy();
  }
}

async function operate(
  settings: KafkaSettings,
  connection: BrokerConnection,
  opened: { destroy(): void }[],
  note: StageNote,
  signal: AbortSignal,
): Promise<void> {
  const { BrokerConnection } = await import('./broker-connection.ts');
  const { topic } = settings;
  const metadata = await connection.metadata(topic, { allowCreate: false, signal });
  const layout = (() => {
    try {
      return toLayout(topic, metadata);
    } catch (error) {
      throw advisedTopic(error, topic);
    }
  })();
  const missing = [...layout.leaders.entries()].flatMap(([partition, leader]) => (leader ? [] : [partition]));
  if (missing.length === layout.leaders.length)
    throw new AppError('target_busy', `No partition of ${topic} has a leader at present`);
  const leaders = new Map(
    layout.leaders.flatMap((leader) => (leader ? [[addressOf(leader), leader] as const] : [])),
  );
  const outcomes = await tryAll([...leaders.values()], async (leader) => {
    const reached = await BrokerConnection.open(settings, leader, signal);
    opened.push(reached);
  });
  const failed = outcomes.flatMap(({ broker, error }) => (error ? [{ broker, error }] : []));
  if (failed.length > 0) {
    const { code, message } = summary(failed);
    const addresses = failed.map((each) => addressOf(each.broker)).join(', ');
    throw new AppError(
      code,
      `A leader cannot be used at the address that it advertises, ${addresses}: ${message}`,
      {
        details: {
          hint: `The brokers tell clients to use ${addresses}: the worker must resolve and reach it, or the brokers' advertised.listeners must change.`,
        },
      },
    );
  }
  if (layout.operations !== undefined && (layout.operations & write) === 0)
    throw new AppError('permission_denied', `The account may not write to ${topic}`, {
      details: { hint: `Grant the account WRITE on the topic ${topic}.` },
    });
  const remarks = [
    ...(layout.operations !== undefined && (layout.operations & read) === 0
      ? [`the account may not read ${topic}: consume will be refused`]
      : []),
    ...(missing.length > 0 ? [`partition ${missing.join(', ')} has no leader at present`] : []),
  ];
  note.detail(
    [
      `${topic} has ${layout.leaders.length} partition${layout.leaders.length === 1 ? '' : 's'}`,
      `led by ${[...leaders.keys()].join(', ')}, each reached`,
      ...remarks,
    ].join('; '),
  );
}

/** A failure of the topic with what to do about it. */
export function advisedTopic(error: unknown, topic: string): AppError {
  const failure = classifyKafkaError(error);
  const hint =
    error instanceof BrokerError && error.code === brokerErrors.unknownTopicOrPartition
      ? `Create the topic ${topic}, or correct topicName; without DESCRIBE on it an account is told the same.`
      : failure.code === 'permission_denied'
        ? `Grant the account DESCRIBE and WRITE on the topic ${topic}.`
        : undefined;
  return hint ? new AppError(failure.code, failure.message, { cause: error, details: { hint } }) : failure;
}

interface Attempt<T> {
  readonly broker: Broker;
  readonly value?: T;
  readonly error?: AppError;
}

function tryAll<T>(brokers: readonly Broker[], work: (broker: Broker) => Promise<T>): Promise<Attempt<T>[]> {
  return Promise.all(
    brokers.map(async (broker) => {
      try {
        return { broker, value: await work(broker) };
      } catch (error) {
        return { broker, error: classifyKafkaError(error) };
      }
    }),
  );
}

/** Those that worked, in their order; fails when none did. The note says what became of each. */
function usable<T>(
  attempts: readonly Attempt<T>[],
  note: StageNote,
  describe: (broker: Broker, value: T) => string,
): { broker: Broker; value: T }[] {
  const good = attempts.flatMap(({ broker, value, error }) => (error ? [] : [{ broker, value: value as T }]));
  const bad = attempts.flatMap(({ broker, error }) => (error ? [{ broker, error }] : []));
  if (good.length === 0) throw summary(bad);
  note.detail(
    [
      ...good.map(({ broker, value }) => describe(broker, value)),
      ...bad.map(({ broker, error }) => `${addressOf(broker)} FAILED: ${error.message}`),
    ].join('; '),
  );
  if (bad.length > 0)
    note.hint(
      `Of several brokers ${bad.map(({ broker }) => addressOf(broker)).join(', ')} cannot be used: repair or remove.`,
    );
  return good;
}
