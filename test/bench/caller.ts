import { hash } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import Fastify from 'fastify';
import { connectors } from '../../src/connectors/connectors.ts';
import { definitions } from '../../src/connectors/definitions.ts';
import type { DesiredConnection, Verdict } from '../../src/contract/worker-protocol.ts';
import { createNetwork } from '../../src/worker/egress.ts';
import { createEgressPolicy } from '../../src/worker/egress-policy.ts';
import { LiveConnections } from '../../src/worker/live-connections.ts';
import { startWorkerApi } from '../../src/worker/worker-api.ts';
import type { CallerOrder, FillResult, RunResult, UsageResult } from './caller-orders.ts';
import { type BareClient, type Call, type CallName, calls } from './calls.ts';
import { endWithParent } from './process.ts';

const log = {
  debug() {},
  info() {},
  warn() {},
  error: (fields: object, text: string) => console.error(text, fields),
};
const timeoutMs = 120_000;
const project = 'Bench';

/** Calls as fast as answers come, with so many at a time. */
async function run(call: Call, once: () => Promise<void>, order: { inFlight: number; durationMs: number }) {
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  const endsAt = startedAt + order.durationMs;
  let count = 0;
  const converse = async () => {
    while (performance.now() < endsAt) {
      await once();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: order.inFlight }, converse));
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const units = count * call.units;
  return { perSecond: units / seconds, cpuMicros: (user + system) / units } satisfies RunResult;
}

function bareSide() {
  const clients = new Map<CallName, BareClient>();
  return async (order: CallerOrder): Promise<unknown> => {
    if ('open' in order) {
      clients.set(order.open, await (calls[order.open] as Call).bare!(order.address));
      return {};
    }
    if ('run' in order) {
      const client = clients.get(order.run)!;
      return run(calls[order.run], () => client.call(), order);
    }
    if ('port' in order) {
      const app = Fastify({ bodyLimit: 64 * 1024 * 1024, routerOptions: { ignoreTrailingSlash: true } });
      for (const [name, client] of clients)
        app.post(`/${name}/`, async () => {
          await client.call();
          return { success: true };
        });
      return Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port);
    }
    if ('close' in order) {
      await clients.get(order.close)!.close();
      clients.delete(order.close);
      return {};
    }
    throw new Error('the bare side knows no such order');
  };
}

function workerSide() {
  const verdicts = new Map<string, (verdict: Verdict) => void>();
  const connections = new LiveConnections({
    definitions,
    connectors,
    network: createNetwork({ policy: createEgressPolicy() }),
    log,
    logRoots: [process.env['BENCH_LOG_ROOT'] ?? '/nowhere'],
    environment: () => 'production',
    // Nobody is there to ask for a proof, and none is made by itself: what is not used is not dialled.
    hasControlPlane: () => true,
    onVerdict: (verdict) => verdicts.get(verdict.connection)?.(verdict),
  });
  const put = async (items: DesiredConnection[]) => {
    const decided = items.map(
      ({ connection }) => new Promise<Verdict>((resolve) => verdicts.set(connection, resolve)),
    );
    connections.put(items);
    for (const { step, connection, message } of (await Promise.all(decided)) as (Verdict & {
      message?: string;
    })[])
      if (step !== 'valid') throw new Error(`${connection} is ${step}: ${message}`);
    verdicts.clear();
  };
  const once = (name: CallName) => {
    const call: Call = calls[name];
    return async () => {
      const result = await connections.operate(name, call.operation, call.input(), { timeoutMs });
      if (!call.isDone(result as never)) throw new Error(`not done: ${JSON.stringify(result).slice(0, 400)}`);
    };
  };
  return async (order: CallerOrder): Promise<unknown> => {
    if ('open' in order) {
      const name = order.open;
      const { type, config } = calls[name] as Call;
      await put([
        {
          connection: name,
          project,
          name,
          type,
          revision: 1,
          config: { ...config(order.address), deployToWorker: true, enabled: true },
        },
      ]);
      await once(name)();
      return {};
    }
    if ('run' in order) return run(calls[order.run], once(order.run), order);
    if ('close' in order) {
      connections.remove([order.close]);
      return {};
    }
    if ('port' in order) {
      const grants = [{ project }];
      const tokens = [
        { hash: hash('sha256', order.port, 'base64url'), expiresAt: null, actor: 'bench', grants },
      ];
      const worker = { connections, tokens, isConnected: true, onTokens() {} };
      const { url } = await startWorkerApi({ worker, host: '127.0.0.1', port: 0, log });
      return Number(new URL(url).port);
    }
    if ('put' in order) {
      await put(order.put);
      return {};
    }
    if ('fill' in order) return fill(connections, order);
    return usage();
  };
}

/** Sends more than is taken until something is refused, and looks at what is held meanwhile. */
async function fill(
  connections: LiveConnections,
  { fill: name, durationMs }: { fill: CallName; durationMs: number },
): Promise<FillResult> {
  const { operation, input } = calls[name] as Call;
  const before = usage().residentBytes;
  let heldBytes = 0;
  let refused = 0;
  const endsAt = performance.now() + durationMs;
  const look = setInterval(() => {
    const report = connections.health(Date.now()).find(({ connection }) => connection === name);
    heldBytes = Math.max(heldBytes, report?.figures?.['bytes'] ?? 0);
  }, 10);
  const pending = new Set<Promise<void>>();
  const abort = new AbortController();
  while (performance.now() < endsAt) {
    const sent = connections
      .operate(name, operation, input(), { timeoutMs, asker: abort })
      .then(
        (result) => {
          const { results } = result as { results: { accepted: boolean }[] };
          refused += results.filter(({ accepted }) => !accepted).length;
        },
        () => {
          refused += 1;
        },
      )
      .finally(() => pending.delete(sent));
    pending.add(sent);
    if (pending.size >= 200) await Promise.race(pending);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  const addedBytes = usage().residentBytes - before;
  clearInterval(look);
  abort.abort();
  await Promise.all(pending);
  return { heldBytes, addedBytes, refused };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as (how: object) => void;

function usage(): UsageResult {
  // As hard as V8 can: what is only kept for the next garbage is given back.
  collectGarbage({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  const descriptors = readdirSync('/proc/self/fd').flatMap((name) => descriptorOf(name) ?? []);
  return {
    residentBytes: process.memoryUsage.rss(),
    sockets: descriptors.filter((target) => target.startsWith('socket:')).length,
  };
}

function descriptorOf(name: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${name}`);
  } catch {
    // The one by which the directory was read.
    return undefined;
  }
}

const answer = process.env['BENCH_SIDE'] === 'bare' ? bareSide() : workerSide();
process.on('message', (order: CallerOrder) => {
  answer(order).then(
    (result) => process.send?.({ result }),
    (error: Error) => process.send?.({ error: error.stack ?? error.message }),
  );
});
endWithParent();
process.send?.({ ready: true });
