import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Type } from 'typebox';
import { type Connector, defineConnector, type Logger } from '../../connectors/connector.ts';
import type { AnyConnector } from '../../connectors/connectors.ts';
import {
  type ConfigOf,
  defineConnectionType,
  defineOperation,
  hostName,
  optional,
  secret,
  text,
  tlsFields,
} from '../../contract/connection-type.ts';
import type { DesiredConnection } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import type { ConnectorLoader } from '../live-client.ts';

/** A type whose behaviour is told by the values of its connections. */
export const fake = defineConnectionType({
  type: 'fake',
  title: 'Fake',
  summary: 'For tests of the worker.',
  fields: {
    host: hostName({ title: 'Host', description: 'Names the target in what it says.' }),
    password: optional(secret({ title: 'Password', description: 'A secret.' })),
    open: text({ title: 'Open', description: 'ok, refuse, hang, deaf, or bug', default: 'ok' }),
    proof: text({ title: 'Proof', description: 'ok, hang, or an error code', default: 'ok' }),
    closing: text({ title: 'Closing', description: 'ok, hang, or fail', default: 'ok' }),
    ...tlsFields,
  },
  operations: {
    say: defineOperation({
      title: 'Say',
      description: 'Answers what it was told, after a while.',
      input: Type.Object(
        {
          text: Type.String(),
          afterMs: Type.Optional(Type.Integer({ minimum: 0 })),
          fail: Type.Optional(Type.String()),
          deaf: Type.Optional(Type.Boolean()),
          to: Type.Optional(Type.Array(Type.String({ format: 'email-address' }))),
        },
        { additionalProperties: false },
      ),
      output: Type.Unknown(),
    }),
    sayAll: defineOperation({
      title: 'Say all',
      description: 'Answers each item.',
      stream: { items: 'items', results: 'results' },
      input: Type.Object({ items: Type.Array(Type.Object({ text: Type.String() })) }),
      output: Type.Object({ results: Type.Array(Type.Unknown()) }),
    }),
  },
});

type FakeConfig = ConfigOf<typeof fake>;

export interface FakeLive {
  config: FakeConfig;
  closed: number;
  running: number;
}

/** A connector that keeps account of its clients. */
export function createFake() {
  const clients: FakeLive[] = [];
  let proofs = 0;
  let aborts = 0;
  let said = 0;
  const connector: Connector<typeof fake, FakeLive> = defineConnector(fake, {
    async open(config, ctx) {
      ctx.signal.addEventListener('abort', () => {
        aborts += 1;
      });
      ctx.trust.tls(config);
      if (config.open === 'refuse')
        throw new AppError('invalid_configuration', `the value ${config.password} cannot be used`);
      if (config.open === 'bug') throw new TypeError(`undefined is no function of ${config.password}`);
      if (config.open === 'hang') await sleep(60_000, undefined, { signal: ctx.signal, ref: false });
      if (config.open === 'late') await sleep(300);
      if (config.open === 'flaky') throw new AppError('unavailable', 'the source of the secret is away');
      if (config.open === 'warn') ctx.warn(`the password ${config.password} is weak`);
      const live = { config, closed: 0, running: 0 };
      clients.push(live);
      return live;
    },
    async prove(live, { signal }) {
      proofs += 1;
      if (live.config.proof === 'hang') await new Promise(() => {});
      if (live.config.proof !== 'ok')
        throw Object.assign(new Error(`no ${live.config.password}`), { code: live.config.proof });
      signal.throwIfAborted();
    },
    async test(config, stages, ctx) {
      const { network } = ctx;
      await stages.run('resolve', async (note) => {
        note.detail(`${config.host} with ${config.password}`);
        if (config.proof === 'warn') ctx.warn(`weak: ${config.password}`);
        if (config.proof === 'resolve') await network.resolve(config.host);
      });
      if (config.proof === 'outside') throw new Error(`between stages ${config.password}`);
      await stages.run('connect', async (note) => {
        note.hint(`look at ${config.password}`);
        if (config.proof === 'hang') await new Promise(() => {});
        if (config.proof !== 'ok' && config.proof !== 'warn' && config.proof !== 'short')
          throw Object.assign(new Error(`failed with ${config.password}`), { code: config.proof });
      });
      stages.skip('tls', 'TLS is off');
      await stages.run('operate', async () => {});
    },
    operations: {
      async say(live, input, { signal }) {
        if (live.closed > 0) throw new Error('used after it was closed');
        live.running += 1;
        said += 1;
        try {
          if (input.afterMs) await sleep(input.afterMs, undefined, input.deaf ? {} : { signal });
          if (input.fail)
            throw Object.assign(new Error(`${input.text}: ${live.config.password}`), { code: input.fail });
          const { host, password } = live.config;
          return { said: input.text, host, ...(password ? { password } : {}) };
        } finally {
          live.running -= 1;
        }
      },
      async sayAll(live, { items }) {
        return { results: items.map(({ text: said }) => ({ said, password: live.config.password })) };
      },
    },
    figures: (live) => ({ running: live.running }),
    async close(live) {
      live.closed += 1;
      if (live.config.closing === 'hang') await new Promise(() => {});
      if (live.config.closing === 'fail') throw new Error(`could not close ${live.config.password}`);
    },
    classify(error) {
      const { code, message } = error as { code?: string; message: string };
      if (code === 'ABORT_ERR') return new AppError('cancelled');
      return new AppError((code as never) ?? 'target_error', `the driver said: ${message}`);
    },
  });
  return {
    clients,
    get proofs() {
      return proofs;
    },
    get aborts() {
      return aborts;
    },
    /** Calls of the operation. */
    get said() {
      return said;
    },
    get openClients() {
      return clients.filter(({ closed }) => closed === 0).length;
    },
    definitions: { fake, stored: { ...fake, type: 'stored' } },
    connectors: {
      fake: async () => connector as unknown as AnyConnector,
      stored: null,
    } satisfies Record<string, ConnectorLoader | null>,
  };
}

/** A desired connection of the fake type. */
export function desired(
  connection: string,
  revision: number,
  config: Record<string, unknown> = {},
  more: Partial<DesiredConnection> = {},
): DesiredConnection {
  const values = { host: `host-${revision}`, ...config };
  return { connection, project: 'P', name: connection, type: 'fake', revision, config: values, ...more };
}

/** A log that keeps every line as text. */
export function createLog(): Logger & { text(): string } {
  const lines: string[] = [];
  const write = (fields: object, message: string) => {
    const shown = Object.entries(fields).map(
      ([name, value]) => `${name}=${value instanceof Error ? inspect(value) : JSON.stringify(value)}`,
    );
    lines.push(`${message} ${shown.join(' ')}`);
  };
  return { debug: write, info: write, warn: write, error: write, text: () => lines.join('\n') };
}

/** Waits until the condition holds; fails after a generous time. */
export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come about`);
    await sleep(5);
  }
}
