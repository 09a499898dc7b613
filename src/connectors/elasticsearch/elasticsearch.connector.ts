import type { OutputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { defineConnector } from '../connector.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import { administer } from './administration.ts';
import { BulkBuffer, type BulkOutcome } from './bulk-buffer.ts';
import { ElasticCluster, versionMismatch } from './elastic-cluster.ts';
import {
  type BulkAnswer,
  bulkOutcomes,
  bulkRequest,
  bulkWrites,
  indexRequest,
  type SearchAnswer,
  searchRequest,
  searchResult,
} from './elastic-request.ts';
import { testStages } from './elastic-stages.ts';
import type { ElasticConfig } from './elastic-tls.ts';
import { elasticsearch } from './elasticsearch.definition.ts';

type BulkResult = OutputOf<(typeof elasticsearch)['operations']['bulk']>['results'][number];

interface LiveElastic {
  readonly config: ElasticConfig;
  readonly cluster: ElasticCluster;
  readonly buffer: BulkBuffer;
  readonly warn: (text: string) => void;
  /** Warned of the version, and made what administration makes. */
  prepared: boolean;
}

interface IndexAnswer {
  _index: string;
  _id: string;
  result: string;
  _version?: number;
  _seq_no?: number;
  _primary_term?: number;
}

/** Elasticsearch 7 to 9 and OpenSearch by plain JSON over HTTP. */
export const elasticsearchConnector = defineConnector<typeof elasticsearch, LiveElastic>(elasticsearch, {
  async open(config, ctx) {
    const cluster = await ElasticCluster.open(config, ctx);
    const buffer = new BulkBuffer(
      async (writes, signal) => {
        await recognise(config, cluster, signal);
        const answer = await cluster.ask<BulkAnswer>(bulkRequest(writes), signal);
        return bulkOutcomes(answer, writes.length);
      },
      {
        capacity: config.bulkBufferCapacity,
        flushIntervalMs: config.bulkFlushIntervalMs,
        maxBatchSize: config.bulkMaxBatchSize,
      },
      (count, error) => ctx.log.warn({ count, code: error.code }, 'Buffered writes were lost'),
    );
    return { config, cluster, buffer, warn: ctx.warn, prepared: false };
  },

  async prove(live, { signal }) {
    const { cluster, config, warn } = live;
    await cluster.probe(signal);
    if (live.prepared) return;
    const info = await cluster.identify(signal);
    const mismatch = info && versionMismatch(config.elasticsearchMajorVersion, info);
    if (mismatch) warn(mismatch);
    if (config.administrate) await administer(cluster, config, warn, signal);
    live.prepared = true;
  },

  async test(config, stages, ctx) {
    const cluster = await ElasticCluster.open(config, ctx);
    try {
      await testStages(cluster, config, stages, ctx);
    } finally {
      await cluster.close();
    }
  },

  operations: {
    async index({ config, cluster }, input, { signal }) {
      refuseWhenReadOnly(config);
      const request = indexRequest(input, config.indexName);
      await recognise(config, cluster, signal);
      const answer = await cluster.ask<IndexAnswer>(request, signal);
      return {
        index: answer._index,
        id: answer._id,
        result: answer.result,
        ...(answer._version === undefined ? {} : { version: answer._version }),
        ...(answer._seq_no === undefined ? {} : { seqNo: answer._seq_no }),
        ...(answer._primary_term === undefined ? {} : { primaryTerm: answer._primary_term }),
      };
    },

    async bulk({ config, buffer }, input, { signal }) {
      refuseWhenReadOnly(config);
      const writes = bulkWrites(input, config.indexName);
      const outcomes = await buffer.add(writes, input.wait ?? true, signal);
      const results = outcomes.map(asResult);
      return {
        accepted: writes.length,
        failed: results.filter(({ error }) => error).length,
        results,
      };
    },

    async search({ config, cluster }, input, { signal }) {
      const request = searchRequest(input, config.indexName);
      await recognise(config, cluster, signal);
      return searchResult(await cluster.ask<SearchAnswer>(request, signal));
    },
  },

  figures: ({ cluster, buffer }) => ({ ...cluster.figures(), ...buffer.figures() }),

  async close({ buffer, cluster }) {
    await buffer.close();
    await cluster.close();
  },

  classify: classifyHttpError,
});

/** Asks what the cluster is before the first operation, unless the configuration says it. */
async function recognise(config: ElasticConfig, cluster: ElasticCluster, signal: AbortSignal): Promise<void> {
  if (config.elasticsearchMajorVersion === 'AUTO_DETECT') await cluster.identify(signal);
}

function refuseWhenReadOnly(config: ElasticConfig): void {
  if (config.elasticsearchType === 'READ')
    throw new AppError('bad_request', 'The connection is read only: elasticsearchType is READ');
}

function asResult(given: BulkOutcome): BulkResult {
  if (!given.error) return given as BulkResult;
  const { error, ...outcome } = given;
  const { code, message, retryable } = error;
  return { ...outcome, error: { code, message, retryable } };
}
