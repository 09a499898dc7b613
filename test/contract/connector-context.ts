import type { ConnectionOptions } from 'node:tls';
import type { Connector, ConnectorContext, Trust } from '../../src/connectors/connector.ts';
import type { AnyConnector } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import { KnownHostKeys } from '../../src/connectors/transport/known-host-keys.ts';
import type { ConfigOf, ConnectionType } from '../../src/contract/connection-type.ts';
import type { TestResult } from '../../src/contract/worker-protocol.ts';
import { createNetwork } from '../../src/worker/egress.ts';
import { createEgressPolicy, type EgressOptions } from '../../src/worker/egress-policy.ts';
import { runTest } from '../../src/worker/run-test.ts';
import { createTrust } from '../../src/worker/trust.ts';

/** What a connector said through its context. */
export interface RecordedContext extends ConnectorContext {
  readonly warnings: string[];
  /** Log lines as one text each. */
  readonly logged: string[];
}

/** A context as the worker gives it; `trust` defaults to the system's roots, `egress` to the policy's defaults. */
export function createContext(options: {
  signal: AbortSignal;
  trust?: Trust;
  egress?: EgressOptions;
  /** Default none. */
  logRoots?: readonly string[];
}): RecordedContext {
  const warnings: string[] = [];
  const logged: string[] = [];
  const line = (level: string) => (fields: object, message: string) => {
    logged.push(`${level} ${message} ${JSON.stringify(fields)}`);
  };
  return {
    signal: options.signal,
    project: 'Contract',
    name: 'subject',
    environment: 'test',
    log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
    network: createNetwork({ policy: createEgressPolicy(options.egress) }),
    trust: options.trust ?? createTrust(),
    logRoots: options.logRoots ?? [],
    hostKeys: new KnownHostKeys(),
    warn: (text) => warnings.push(text),
    warnings,
    logged,
  };
}

/** Trust in one authority (PEM), whatever the configuration names. */
export function trustIn(caPem: string): Trust {
  return {
    tls: ({ verifyCertificate }): ConnectionOptions => ({
      ca: caPem,
      rejectUnauthorized: verifyCertificate !== false,
    }),
  };
}

/** The staged test as the worker runs it: validated, scrubbed, each stage reported once. */
export function testConnection<D extends ConnectionType, Live>(
  connector: Connector<D, Live>,
  config: ConfigOf<D>,
  context: ConnectorContext,
): Promise<TestResult> {
  const { project, name, environment, log, network, trust, logRoots, signal } = context;
  const { type } = config;
  const surroundings = {
    definitions,
    connectors: { [type]: async () => connector as AnyConnector },
    network,
    trust,
    logRoots,
    log,
    environment,
  };
  const request = { project, name, type, config: { ...config }, timeoutMs: 120_000 };
  return runTest(surroundings, request, () => {}, signal);
}
