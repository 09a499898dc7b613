import { createConnection, type Socket } from 'node:net';

/** Where the target of a call listens, and what is needed to log in there. */
export interface Address {
  port: number;
  user?: string;
  password?: string;
  /** Of files, in place of a port. */
  directory?: string;
}

/** A driver used without anything of ours around it. */
export interface BareClient {
  call(): Promise<void>;
  close(): Promise<void>;
}

/** One operation as a connection does it, and as its driver does the same alone. */
export interface Call {
  type: string;
  config(address: Address): Record<string, unknown>;
  operation: string;
  /** Made anew for each call, as a caller does. */
  input(): unknown;
  /** Messages, rows or lines of one call. */
  units: number;
  /** Whether the result says that everything was taken. */
  isDone(result: never): boolean;
  /** Left out where the other side is no client of Node. */
  bare?(address: Address): Promise<BareClient>;
}

export const topic = 'bench';
export const queue = 'bench';
const host = '127.0.0.1';

const body = JSON.stringify({
  order: 4711,
  customer: 'C-20391',
  items: [{ sku: 'A-1', count: 2 }],
  note: 'x'.repeat(100),
});
const logText = `GET /orders/4711 200 17 ms customer=C-20391 trace=4bf92f3577b34da6a3ce929d0e0e4736 ${'x'.repeat(40)}`;
const sql = 'select id, name, amount from items where id = $1';

function many<T>(count: number, make: (at: number) => T): T[] {
  const made: T[] = [];
  for (let at = 0; at < count; at++) made.push(make(at));
  return made;
}

function databaseQuery(): Call {
  return {
    type: 'database',
    config: ({ port, user, password }) => ({
      dbType: 'POSTGRES',
      host,
      port,
      databaseName: 'test',
      useCredentials: true,
      username: user,
      password,
      maxPoolSize: 8,
      // The driver's own pool does not ask either whether a connection that is at hand still stands.
      testConnectionOnCheckout: false,
    }),
    operation: 'query',
    input: () => ({ sql, parameters: [7] }),
    units: 1,
    isDone: ({ rows }: { rows: unknown[] }) => rows.length === 1,
    async bare({ port, user, password }) {
      const { default: pg } = await import('pg');
      const pool = new pg.Pool({ host, port, user, password, database: 'test', max: 8 });
      return {
        async call() {
          // Prepared and as arrays, as the connection does it.
          const { rows } = await pool.query({ name: 'item', text: sql, values: [7], rowMode: 'array' });
          if (rows.length !== 1) throw new Error('the row is not there');
        },
        close: () => pool.end(),
      };
    },
  };
}

function kafkaProduce(count: number): Call {
  const messages = () => many(count, () => ({ key: 'C-20391', value: body }));
  return {
    type: 'kafka',
    config: ({ port }) => ({
      bootstrapServers: `${host}:${port}`,
      topicName: topic,
      enableSecure: false,
      propertiesMap: {},
    }),
    operation: 'produce',
    input: () => ({ messages: messages() }),
    units: count,
    isDone: ({ messages: stored }: { messages: { offset?: string }[] }) =>
      stored.length === count && stored.every(({ offset }) => offset !== undefined),
    async bare({ port }) {
      const { Producer, stringSerializers } = await import('@platformatic/kafka');
      const producer = new Producer({
        clientId: 'bench',
        bootstrapBrokers: [`${host}:${port}`],
        serializers: stringSerializers,
        // What a connection does unless it is told otherwise: every message stored once and by all replicas.
        idempotent: true,
      });
      return {
        async call() {
          const { offsets } = await producer.send({
            messages: messages().map((message) => ({ topic, ...message })),
          });
          if (!offsets?.length) throw new Error('not stored');
        },
        close: () => producer.close(),
      };
    },
  };
}

function rabbitMqPublish(count: number): Call {
  return {
    type: 'rabbitMq',
    config: ({ port, user, password }) => ({
      hostPortList: [{ host, port }],
      authenticationEnabled: true,
      connectionFactoryUsername: user,
      connectionFactoryPassword: password,
      channelRoutingKey: queue,
    }),
    operation: 'publish',
    input: () => (count === 1 ? { body } : { messages: many(count, () => ({ body })) }),
    units: count,
    isDone: ({ published }: { published: number }) => published === count,
    async bare({ port, user, password }) {
      const amqp = await import('amqplib');
      const connection = await amqp.connect({ hostname: host, port, username: user, password });
      const channel = await connection.createConfirmChannel();
      const options = { mandatory: true, contentType: 'application/json', appId: 'apinizer' };
      const publish = () =>
        new Promise<void>((resolve, reject) => {
          channel.publish('', queue, Buffer.from(body), options, (error) =>
            error ? reject(error) : resolve(),
          );
        });
      return {
        async call() {
          await Promise.all(many(count, publish));
        },
        close: () => connection.close(),
      };
    },
  };
}

function elasticsearchBulk(count: number): Call {
  const document = (at: number) => ({ at, customer: 'C-20391', note: 'x'.repeat(100), took: 17 });
  return {
    type: 'elasticsearch',
    config: ({ port }) => ({
      elasticHostList: [{ scheme: 'http', host, port }],
      indexName: 'bench',
      // A call is a batch of its own, so that nobody waits for it to fill.
      bulkMaxBatchSize: count,
    }),
    operation: 'bulk',
    input: () => ({ actions: many(count, (at) => ({ document: document(at) })) }),
    units: count,
    isDone: ({ accepted, failed }: { accepted: number; failed: number }) =>
      accepted === count && failed === 0,
    async bare({ port }) {
      const { Client } = await import('undici');
      const client = new Client(`http://${host}:${port}`);
      const head = JSON.stringify({ index: { _index: 'bench' } });
      return {
        async call() {
          const answer = await client.request({
            method: 'POST',
            path: '/_bulk?filter_path=items.*.status,items.*._id',
            headers: { 'content-type': 'application/x-ndjson' },
            body: many(count, document)
              .map((each) => `${head}\n${JSON.stringify(each)}\n`)
              .join(''),
          });
          const { items } = (await answer.body.json()) as { items: { index: { status: number } }[] };
          if (items.length !== count || items.some(({ index }) => index.status !== 201))
            throw new Error('not every document was stored');
        },
        close: () => client.close(),
      };
    },
  };
}

/** A socket that is handed the messages of a call, made beforehand, in one corked batch. */
async function bareSocket(port: number, messages: Buffer[]): Promise<BareClient> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    const opened = createConnection({ port, host, noDelay: true }, () => resolve(opened));
    opened.once('error', reject);
  });
  const last = messages.length - 1;
  return {
    call: () =>
      new Promise((resolve, reject) => {
        socket.cork();
        for (let at = 0; at < last; at++) socket.write(messages[at]!);
        socket.write(messages[last]!, (error) => (error ? reject(error) : resolve()));
        socket.uncork();
      }),
    async close() {
      socket.destroy();
    },
  };
}

function logCall(
  count: number,
  call: Pick<Call, 'type' | 'config'> & { line: string; end: string; item: object },
): Call {
  const { type, config, line, end, item } = call;
  return {
    type,
    config,
    operation: 'log',
    input: () => (count === 1 ? { ...item } : { messages: many(count, () => ({ ...item })) }),
    units: count,
    isDone: ({ accepted }: { accepted: number }) => accepted === count,
    bare: ({ port }) =>
      bareSocket(
        port,
        many(count, () => Buffer.from(`${line}${end}`)),
      ),
  };
}

function syslogLog(count: number): Call {
  return logCall(count, {
    type: 'syslog',
    config: ({ port }) => ({
      syslogServerHostname: host,
      syslogPort: port,
      syslogMessageFormat: 'RFC_5424',
      syslogMessageHostname: 'gateway-1',
      queueSize: 100_000,
      maxBufferBytes: heldBytesLimit,
    }),
    item: { message: logText },
    line: `<110>1 ${new Date(0).toISOString()} gateway-1 Apinizer - - - ${logText}`,
    end: '\n',
  });
}

function gelfLog(count: number): Call {
  return logCall(count, {
    type: 'graylog',
    config: ({ port }) => ({ hostname: host, port, queueSize: 100_000 }),
    item: { message: logText, host: 'gateway-1' },
    line: JSON.stringify({
      version: '1.1',
      host: 'gateway-1',
      short_message: logText,
      timestamp: 1700000000.123,
      level: 6,
    }),
    end: '\0',
  });
}

/** What syslog may hold in memory at most, bytes. */
export const heldBytesLimit = 16 * 1024 * 1024;

/** The line and its pattern, which Java's Logback is given as well. */
export const logbackLine = {
  pattern: '%d{yyyy-MM-dd HH:mm:ss.SSS} [%thread] %-5level %logger{36} - %msg%n',
  message: logText,
};

function logbackLog(count: number): Call {
  const item = { message: logText, logger: 'com.example.Gateway' };
  return {
    type: 'logback',
    config: ({ directory }) => ({
      logPath: directory,
      logPattern: logbackLine.pattern,
      maxFileSize: 1024,
    }),
    operation: 'log',
    input: () => (count === 1 ? { ...item } : { messages: many(count, () => ({ ...item })) }),
    units: count,
    isDone: ({ written }: { written: number }) => written === count,
  };
}

/** By the name that a caller is told. */
export const calls = {
  databaseQuery: databaseQuery(),
  kafkaProduce: kafkaProduce(1),
  kafkaProduce100: kafkaProduce(100),
  rabbitMqPublish: rabbitMqPublish(1),
  rabbitMqPublish100: rabbitMqPublish(100),
  elasticsearchBulk: elasticsearchBulk(1000),
  syslogLog: syslogLog(1),
  syslogLog100: syslogLog(100),
  syslogLog1000: syslogLog(1000),
  gelfLog: gelfLog(1),
  gelfLog100: gelfLog(100),
  gelfLog1000: gelfLog(1000),
  logbackLog: logbackLog(1),
  logbackLog100: logbackLog(100),
  logbackLog1000: logbackLog(1000),
} satisfies Record<string, Call>;

export type CallName = keyof typeof calls;
