import type { InputOf } from '../../contract/connection-type.ts';
import { AppError, type FieldFault } from '../../errors.ts';
import { defineConnector } from '../connector.ts';
import { bounded } from './deadline.ts';
import { kafka } from './kafka.definition.ts';
import { KafkaCluster } from './kafka-cluster.ts';
import { consume } from './kafka-consumer.ts';
import { classifyKafkaError } from './kafka-errors.ts';
import { KafkaProducer, type Outcome, type OutgoingMessage } from './kafka-producer.ts';
import type { Datum, Serializer } from './kafka-serializers.ts';
import { type KafkaSettings, readSettings } from './kafka-settings.ts';
import { advisedTopic, testStages } from './kafka-stages.ts';
import type { KafkaRecord } from './record-batch.ts';

interface LiveKafka {
  readonly settings: KafkaSettings;
  readonly cluster: KafkaCluster;
  readonly producer: KafkaProducer;
  /** Aborted by close and by the worker. */
  readonly closing: AbortSignal;
  close(): Promise<void>;
}

type ProduceInput = InputOf<typeof kafka.operations.produce>;

const defaultMaxMessages = 10;
const defaultConsumeMs = 5000;

/** Produces and reads messages by Kafka's protocol over sockets of the worker's network. */
export const kafkaConnector = defineConnector<typeof kafka, LiveKafka>(kafka, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const cluster = new KafkaCluster(settings);
    const closing = new AbortController();
    const onAbort = () => void close();
    const close = async () => {
      ctx.signal.removeEventListener('abort', onAbort);
      closing.abort(new AppError('cancelled', 'The connection was closed'));
      await cluster.close();
    };
    ctx.signal.addEventListener('abort', onAbort, { once: true });
    const producer = new KafkaProducer(settings, cluster, closing.signal);
    return { settings, cluster, producer, closing: closing.signal, close };
  },

  async prove({ settings, cluster, closing }, { signal }) {
    const { topic, maxBlockMs } = settings;
    const late = {
      ms: maxBlockMs,
      error: () =>
        new AppError('target_timeout', `No broker answered within max.block.ms (${maxBlockMs} ms)`),
    };
    try {
      await bounded(
        [closing, signal],
        (inner) => cluster.layout(topic, { signal: inner, fresh: true }),
        late,
      );
    } catch (error) {
      throw advisedTopic(error, topic);
    }
  },

  test: (config, stages, ctx) => testStages(readSettings(config, ctx), stages, ctx.signal),

  operations: {
    async produce({ settings, producer }, input, call) {
      const topic = input.topic ?? settings.topic;
      const messages = serialise(input, settings);
      let outcomes: Outcome[];
      try {
        outcomes = await producer.produce(topic, messages, call);
      } catch (error) {
        throw advisedTopic(error, topic);
      }
      const failed = outcomes.find((outcome) => 'error' in outcome);
      // Where nothing was stored the whole call failed; otherwise the caller must learn what was.
      if (failed && outcomes.every((outcome) => 'error' in outcome)) throw failed.error;
      return {
        messages: outcomes.map((outcome) => {
          const { partition } = outcome;
          if (!('error' in outcome)) {
            const { offset } = outcome;
            return { topic, partition, ...(offset === undefined ? {} : { offset: String(offset) }) };
          }
          const { code, message, retryable } = outcome.error;
          return { topic, partition, error: { code, message, retryable } };
        }),
      };
    },

    async consume({ settings, cluster, closing }, input, { signal }) {
      const { topic = settings.topic, from = 'earliest', partition, offset } = input;
      if (offset !== undefined && partition === undefined)
        throw new AppError('bad_request', 'offset needs a partition', {
          details: { validationErrors: [{ field: 'offset', message: 'needs a partition' }] },
        });
      const request = {
        topic,
        from,
        partition,
        offset: offset === undefined ? undefined : BigInt(offset),
        maxMessages: input.maxMessages ?? defaultMaxMessages,
        timeoutMs: input.timeoutMs ?? defaultConsumeMs,
      };
      const messages = await bounded([closing, signal], async (inner) => {
        try {
          return await consume(settings, cluster, request, inner);
        } catch (error) {
          throw advisedTopic(error, topic);
        }
      });
      return { messages };
    },
  },

  figures: ({ cluster, producer }) => ({ ...cluster.figures, ...producer.figures }),

  close: (live) => live.close(),

  classify: classifyKafkaError,
});

/** Keys, values and headers as bytes; fails with `bad_request`, naming each field that cannot be. */
function serialise(input: ProduceInput, settings: KafkaSettings): OutgoingMessage[] {
  const faults: FieldFault[] = [];
  const encode = (serializer: Serializer, value: Datum, name: 'key' | 'value', at: number) => {
    try {
      return serializer.encode(value);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      faults.push({ field: `messages[${at}].${name}`, message: error.message });
      return null;
    }
  };
  const now = Date.now();
  const messages = input.messages.map(({ key = null, value, headers, partition, timestamp = now }, at) => ({
    key: encode(settings.keySerializer, key, 'key', at),
    value: encode(settings.valueSerializer, value, 'value', at),
    headers: headers ? headersOf(headers) : [],
    partition,
    timestamp,
  }));
  if (faults.length > 0)
    throw new AppError('bad_request', `${faults[0]!.field} ${faults[0]!.message}`, {
      details: { validationErrors: faults.slice(0, 100) },
    });
  return messages;
}

function headersOf(headers: Record<string, string>): KafkaRecord['headers'] {
  return Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)]);
}
