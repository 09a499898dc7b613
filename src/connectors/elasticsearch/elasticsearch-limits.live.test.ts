import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createContext } from '../../../test/contract/connector-context.ts';
import { type SearchNode, searchProducts, startSearchNode } from '../../../test/services/search-node.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import type { ElasticConfig } from './elastic-tls.ts';
import { elasticsearchConnector } from './elasticsearch.connector.ts';

const { index, bulk } = elasticsearchConnector.operations;

async function open(t: TestContext, node: SearchNode) {
  const config: ElasticConfig = {
    type: 'elasticsearch',
    name: 'search',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    elasticHostList: [{ scheme: 'http', host: node.host, port: node.port }],
    elasticsearchType: 'READ_WRITE',
    elasticsearchMajorVersion: 'AUTO_DETECT',
    administrate: false,
    authenticate: false,
    encryptCommunication: false,
    caCertInPkcs12FileContentType: 'application/x-pkcs12',
    caInPemFileContentType: 'application/x-pem-file',
    caKeystoreFileContentType: 'application/x-pkcs12',
    caTruststoreFileContentType: 'application/x-pkcs12',
    disableHostnameVerification: false,
    verifyCertificate: true,
    connectionTimeoutInMs: 20_000,
    bulkBufferCapacity: 50_000,
    bulkFlushIntervalMs: 20,
    bulkMaxBatchSize: 2500,
    indexTemplateCreated: false,
    indexLifecyclePolicyCreated: false,
  };
  const live = await elasticsearchConnector.open(
    config,
    createContext({ signal: new AbortController().signal }),
  );
  t.after(() => elasticsearchConnector.close(live));
  const call = { signal: AbortSignal.timeout(90_000) };
  return {
    index: (input: Parameters<typeof index>[1]) => index(live, input, call),
    bulk: (input: Parameters<typeof bulk>[1]) => bulk(live, input, call),
  };
}

for (const product of searchProducts)
  test(`what a node of ${product} limits`, async (t) => {
    const node = await startOrSkip(t, () => startSearchNode(product, { maxContentLength: '2mb' }));
    if (!node) return;
    t.after(() => node.stop());

    await t.test(
      'an index that the flood stage has closed has no room, and takes again when it is opened',
      async (inner) => {
        const { index: write, bulk: writeMany } = await open(inner, node);
        await write({ index: 'flooded', document: { at: 1 } });
        const block = (value: true | null) =>
          node.ask('PUT', '/flooded/_settings', { 'index.blocks.read_only_allow_delete': value });
        await block(true);
        await assert.rejects(write({ index: 'flooded', document: { at: 2 } }), (error) => {
          const { code, retryable, details, message } = elasticsearchConnector.classify(error);
          assert.deepEqual([code, retryable], ['quota_exceeded', true], message);
          assert.match(details.hint ?? '', /disk/);
          return true;
        });
        const { results } = await writeMany({
          actions: [
            { action: 'index', index: 'flooded', document: { at: 3 } },
            { action: 'index', index: 'dry', document: { at: 3 } },
          ],
          wait: true,
        });
        assert.deepEqual(
          results?.map(({ error }) => [error?.code, error?.retryable]),
          [
            ['quota_exceeded', true],
            [undefined, undefined],
          ],
        );
        await block(null);
        await write({ index: 'flooded', document: { at: 4 } });
      },
    );

    await t.test(
      'a document beyond http.max_content_length is too large, and the next one passes',
      async (inner) => {
        const { index: write } = await open(inner, node);
        await assert.rejects(
          write({ index: 'large', document: { text: 'x'.repeat(3 * 1024 * 1024) } }),
          (error) => {
            const { code, retryable, details, message } = elasticsearchConnector.classify(error);
            assert.deepEqual([code, retryable], ['message_too_large', false], message);
            assert.match(details.hint ?? '', /max_content_length/);
            return true;
          },
        );
        await write({ index: 'large', document: { text: 'small' } });
      },
    );
  });
