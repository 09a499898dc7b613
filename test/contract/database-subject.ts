import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Network, Trust } from '../../src/connectors/connector.ts';
import { databaseConnector } from '../../src/connectors/database/database.connector.ts';
import type { DatabaseConfig, DatabaseOperations } from '../../src/connectors/database/database-client.ts';
import type { InputOf } from '../../src/contract/connection-type.ts';
import { AppError } from '../../src/errors.ts';
import { createContext, testConnection } from './connector-context.ts';

/** A connection of the type `database` with the definition's defaults, and `fields` over them. */
export function databaseConfig(fields: Partial<DatabaseConfig>): DatabaseConfig {
  return {
    type: 'database',
    name: 'db',
    deployToWorker: true,
    enabled: true,
    environments: [],
    labels: {},
    circuitBreaker: { enabled: false, errorThreshold: 5, sleepWindowSeconds: 30 },
    useCredentials: true,
    initialPoolSize: 1,
    minPoolSize: 1,
    maxPoolSize: 5,
    incrementCount: 1,
    maxStatements: 100,
    idleConnectionTestPeriod: 30_000,
    connectionTimeout: 30_000,
    maxConnectionAge: 180_000,
    maxIdleTime: 120_000,
    testConnectionOnCheckout: true,
    testConnectionOnCheckin: false,
    logTableSchemaOverrides: {},
    logTableNameOverrides: {},
    verifyCertificate: true,
    ...fields,
  };
}

/** A live connection for one test, closed behind it, and its operations. */
export async function openDatabase(
  t: TestContext,
  config: DatabaseConfig,
  { trust, network }: { trust?: Trust; network?: Network } = {},
) {
  const ctx = createContext({ signal: new AbortController().signal, ...(trust ? { trust } : {}) });
  const live = await databaseConnector.open(config, network ? { ...ctx, network } : ctx);
  t.after(() => databaseConnector.close(live));
  const operation =
    <K extends keyof DatabaseOperations>(name: K) =>
    (input: InputOf<DatabaseOperations[K]>, signal: AbortSignal = AbortSignal.timeout(180_000)) =>
      databaseConnector.operations[name](live, input, { signal });
  return {
    live,
    query: operation('query'),
    execute: operation('execute'),
    find: operation('find'),
    insert: operation('insert'),
    update: operation('update'),
    delete: operation('delete'),
    aggregate: operation('aggregate'),
  };
}

/** The error of ours that an attempt fails with. */
export async function rejected(attempt: Promise<unknown>): Promise<AppError> {
  try {
    await attempt;
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error;
  }
  assert.fail('it was expected to fail');
}

/** What the staged test and a query fail with; no part of it may hold a secret that says `Canary`. */
export async function failuresOf(
  config: DatabaseConfig,
  query: InputOf<DatabaseOperations['query']>,
  context: { network?: Network; trust?: Trust } = {},
) {
  const ctx = { ...createContext({ signal: new AbortController().signal }), ...context };
  const tested = await testConnection(databaseConnector, config, ctx);
  const failed = tested.stages.find(({ status }) => status === 'failed');
  const live = await databaseConnector.open(config, ctx);
  const call = { signal: AbortSignal.timeout(30_000) };
  const failure = await rejected(databaseConnector.operations.query(live, query, call));
  await databaseConnector.close(live);
  await databaseConnector.close(live);
  assert.doesNotMatch(JSON.stringify([tested, failure.message, ctx.logged, ctx.warnings]), /Canary/);
  return { failed, failure, seen: [failed?.stage, failed?.code, failure.code] };
}
