import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import type { Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CallContext, Connector, Trust } from '../../src/connectors/connector.ts';
import type { ConfigOf, ConnectionType } from '../../src/contract/connection-type.ts';
import type { StageName, StageResult, TestResult } from '../../src/contract/worker-protocol.ts';
import { AppError, type ErrorCode } from '../../src/errors.ts';
import type { EgressOptions } from '../../src/worker/egress-policy.ts';
import { freePort } from '../services/service.ts';
import { createContext, type RecordedContext, testConnection } from './connector-context.ts';
import { type Peer, startPeer } from './peer.ts';

/** A connector with its real server, as the contract suite needs them. */
export interface ConnectorSubject<D extends ConnectionType, Live> {
  connector: Connector<D, Live>;
  /** A valid, complete configuration for the running server. */
  config(): ConfigOf<D>;
  /**
   * The same aimed at another address, every timeout of it set to `timeoutMs`; the suite's peers
   * speak no TLS, whatever the configuration demands.
   */
  configAt(target: { host: string; port: number; timeoutMs: number }): ConfigOf<D>;
  /** The same with credentials that the server refuses; undefined where the type has none. */
  badCredentials?: (() => ConfigOf<D>) | undefined;
  /** Calls one operation that works and has a visible effect or answer. */
  operate(live: Live, call: CallContext): Promise<unknown>;
  /** Ends the server's sockets and starts it again at the same address. */
  restart(): Promise<void>;
  /** Trust that accepts the server's certificate; default the system's roots. */
  trust?: Trust;
  /**
   * Where a peer that accepts and never speaks is noticed; unnoticed: servers of the protocol never
   * speak, so that the cases which need one that waits are left to the connector's own tests.
   */
  silentAt: StageName | 'unnoticed';
  /** Where a peer that speaks something else is noticed. */
  garbledAt: StageName;
  /** What such peers say; default an HTTP 400 page and bytes of no protocol. */
  otherProtocols?: Record<string, Buffer>;
  /** Every secret value of the configurations; long enough to be recognised. */
  secrets: readonly string[];
  /** Whether the transport is TLS: a garbled peer may then be a failed handshake. */
  tls: boolean;
}

const host = '127.0.0.1';
/** Bounds a case on a noisy machine; a connector's own timeout must come first. */
const patienceMs = 30_000;

const defaultProtocols = {
  'an HTTP 400 page': Buffer.from(
    'HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><body>Bad Request</body></html>\r\n',
  ),
  'bytes of no protocol': Buffer.from(
    'd2f1008a0dfe0a11f3c3280aa0b19f8e7d6c5b4a392817060d0affeeddccbbaa99887766554433221100',
    'hex',
  ),
};

/**
 * The contract of every connector, run against its real server and against peers that misbehave;
 * each case is a subtest of `t`.
 */
export async function connectorContract<D extends ConnectionType, Live>(
  t: TestContext,
  name: string,
  subject: ConnectorSubject<D, Live>,
): Promise<void> {
  const { connector } = subject;
  const classify = (error: unknown) => (error instanceof AppError ? error : connector.classify(error));

  /** Both kinds of call side by side; the one that is looked at later may fail first. */
  const attempts = (live: Live, c: Case<D, Live>): Promise<unknown>[] => {
    const calls = [connector.prove(live, c.call()), subject.operate(live, c.call())];
    for (const call of calls) call.catch(() => {});
    return calls;
  };

  const contract = (
    title: string,
    body: (c: Case<D, Live>, listeners: AbortListeners) => Promise<void>,
    egress: EgressOptions = {},
  ) =>
    t.test(`${name}: ${title}`, { timeout: 4 * patienceMs }, async () => {
      const before = resources();
      const listeners = watchAbortListeners();
      const c = new Case(subject, egress);
      try {
        await body(c, listeners);
      } finally {
        await c.dispose();
        listeners.unwatch();
      }
      c.checkOwnPace();
      await settled(before, listeners);
      checkSecrets(subject.secrets, c.transcript(classify));
    });

  await contract('opens without network', async (c) => {
    // A reserved name (RFC 6761) on a closed port: whoever dials here fails.
    await c.open(subject.configAt({ host: 'nowhere.invalid', port: await freePort(), timeoutMs: 1000 }));
    assert.equal(c.dials(), 0, 'open must not dial');
  });

  await contract('proves its client by one round trip', async (c) => {
    await connector.prove(await c.open(subject.config()), c.call());
  });

  await contract('passes the staged test of the running server', async (c) => {
    const { stages, success } = await c.test(subject.config());
    assert.ok(success, JSON.stringify(stages));
    for (const { stage, status, detail } of stages)
      assert.ok(
        status === 'passed' || (status === 'skipped' && detail),
        `${stage} ${status}: say why it is skipped`,
      );
    assert.equal(stages.find(({ stage }) => stage === 'connect')?.status, 'passed');
    if (subject.tls) assert.match(stages.find(({ stage }) => stage === 'tls')?.detail ?? '', /TLSv1\.[23]/);
  });

  await contract('operates, and leaves no listener behind each call', async (c, listeners) => {
    const live = await c.open(subject.config());
    const callAll = async () => {
      c.results.push(await subject.operate(live, c.call()));
      await connector.prove(live, c.call());
    };
    await callAll();
    const afterFirst = listeners.left();
    for (let round = 0; round < 3; round++) await callAll();
    assert.ok(
      listeners.left() <= afterFirst,
      `${afterFirst} listeners for an abort became ${listeners.left()}`,
    );
  });

  const { badCredentials } = subject;
  if (badCredentials)
    await contract('reports refused credentials at the stage authenticate', async (c) => {
      const { stages } = await c.test(badCredentials());
      assertFailed(stages, 'authenticate', ['authentication_failed']);
      const live = await c.open(badCredentials());
      for (const attempt of attempts(live, c))
        assert.equal((await failure(c, attempt, classify)).code, 'authentication_failed');
    });

  await contract('reports a closed port at the stage connect', async (c) => {
    const config = subject.configAt({ host, port: await freePort(), timeoutMs: 2000 });
    const { stages } = await c.test(config);
    assertFailed(stages, 'connect', ['connection_refused']);
    const live = await c.open(config);
    for (const attempt of attempts(live, c))
      assert.equal((await failure(c, attempt, classify)).code, 'connection_refused');
  });

  await contract(
    'dials nothing that the egress policy forbids',
    async (c) => {
      const peer = await c.peer(() => {});
      const config = subject.configAt({ host, port: peer.port, timeoutMs: 2000 });
      const { stages } = await c.test(config);
      const failed = stages.find(({ status }) => status === 'failed');
      assert.equal(failed?.code, 'egress_denied', JSON.stringify(stages));
      const live = await c.open(config);
      for (const attempt of attempts(live, c))
        assert.equal((await failure(c, attempt, classify)).code, 'egress_denied');
      assert.equal(peer.count(), 0);
    },
    { deny: ['127.0.0.0/8', '::1'] },
  );

  const { silentAt } = subject;
  if (silentAt !== 'unnoticed')
    await contract('gives up on a silent peer by its own timeout', async (c) => {
      const peer = await c.peer(() => {});
      const config = subject.configAt({ host, port: peer.port, timeoutMs: 700 });
      const { stages } = await c.test(config);
      assertFailed(stages, silentAt, ['target_timeout', 'connect_timeout']);
      const live = await c.open(config);
      for (const attempt of attempts(live, c))
        assert.ok(['target_timeout', 'connect_timeout'].includes((await failure(c, attempt, classify)).code));
      await peer.allClosed();
    });

  for (const [what, bytes] of Object.entries(subject.otherProtocols ?? defaultProtocols))
    await contract(`takes ${what} for a protocol error`, async (c) => {
      const peer = await c.peer((socket) => socket.write(bytes));
      const config = subject.configAt({ host, port: peer.port, timeoutMs: 2000 });
      const expected: ErrorCode[] = subject.tls
        ? ['protocol_error', 'tls_failed', 'tls_not_offered']
        : ['protocol_error'];
      const { stages } = await c.test(config);
      assertFailed(stages, subject.garbledAt, expected);
      const live = await c.open(config);
      for (const attempt of attempts(live, c)) {
        const { code } = await failure(c, attempt, classify);
        assert.ok(expected.includes(code), code);
      }
      await peer.allClosed();
    });

  await contract('does not hang on a half-closed socket', async (c) => {
    const peer = await c.peer((socket) => socket.end());
    const config = subject.configAt({ host, port: peer.port, timeoutMs: 2000 });
    const expected: ErrorCode[] = ['connection_lost', 'protocol_error', 'target_timeout'];
    const { stages } = await c.test(config);
    const failed = stages.find(({ status }) => status === 'failed');
    assert.ok(failed && expected.includes(failed.code as ErrorCode), JSON.stringify(stages));
    const live = await c.open(config);
    const { code } = await failure(c, subject.operate(live, c.call()), classify);
    assert.ok(expected.includes(code), code);
    await peer.allClosed();
  });

  if (silentAt !== 'unnoticed')
    await contract('an aborted operation rejects at once and leaves no socket', async (c) => {
      const peer = await c.peer(() => {});
      const live = await c.open(subject.configAt({ host, port: peer.port, timeoutMs: 10 * patienceMs }));
      const abort = new AbortController();
      const operation = failure(c, subject.operate(live, { signal: abort.signal }), classify);
      await within(peer.reached(), 'the operation to dial');
      abort.abort();
      await within(operation, 'the aborted operation to reject');
      await peer.allClosed();
      assert.equal(getEventListeners(abort.signal, 'abort').length, 0, 'no listener stays on the signal');
    });

  await contract('an operation that is aborted beforehand does not dial', async (c) => {
    const peer = await c.peer(() => {});
    const live = await c.open(subject.configAt({ host, port: peer.port, timeoutMs: 10 * patienceMs }));
    await within(
      failure(c, subject.operate(live, { signal: AbortSignal.abort() }), classify),
      'the rejection',
    );
    assert.equal(peer.count(), 0);
  });

  if (silentAt !== 'unnoticed')
    await contract('an aborted test ends at once and leaves no socket', async (c) => {
      const peer = await c.peer(() => {});
      const testing = c.test(subject.configAt({ host, port: peer.port, timeoutMs: 10 * patienceMs }));
      await within(peer.reached(), 'the test to dial');
      c.abortOpen();
      const { success } = await within(testing, 'the aborted test to end');
      assert.equal(success, false, 'an aborted test does not succeed');
      await peer.allClosed();
    });

  await contract('closes twice', async (c) => {
    const live = await c.open(subject.config());
    await subject.operate(live, c.call());
    await connector.close(live);
    await connector.close(live);
    await failure(c, subject.operate(live, c.call()), classify);
  });

  if (silentAt !== 'unnoticed')
    await contract('closes by force while it operates', async (c) => {
      const peer = await c.peer(() => {});
      const live = await c.open(subject.configAt({ host, port: peer.port, timeoutMs: 10 * patienceMs }));
      const operation = failure(c, subject.operate(live, c.call()), classify);
      await within(peer.reached(), 'the operation to dial');
      c.abortOpen();
      await within(connector.close(live), 'close');
      await within(operation, 'the operation to reject');
      await peer.allClosed();
    });

  await contract('operates again after the server was restarted', async (c) => {
    const live = await c.open(subject.config());
    await subject.operate(live, c.call());
    await subject.restart();
    const deadline = Date.now() + patienceMs;
    for (;;) {
      try {
        await subject.operate(live, c.call());
        break;
      } catch (error) {
        const { code, retryable } = classify(error);
        assert.ok(retryable, `${code} is said to be hopeless: ${(error as Error).message}`);
        assert.ok(Date.now() < deadline, `still ${code}`);
        await sleep(100);
      }
    }
    await connector.prove(live, c.call());
  });

  await contract('serves operations side by side', async (c) => {
    const live = await c.open(subject.config());
    c.results.push(await Promise.all(Array.from({ length: 20 }, () => subject.operate(live, c.call()))));
    for (const [figure, value] of Object.entries(connector.figures?.(live) ?? {}))
      assert.ok(Number.isFinite(value), figure);
  });
}

/** What one case opened, so that it is closed, and what was said, so that it can be searched. */
class Case<D extends ConnectionType, Live> {
  readonly results: unknown[] = [];
  readonly errors: unknown[] = [];
  readonly #subject: ConnectorSubject<D, Live>;
  readonly #abort = new AbortController();
  readonly #guard = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #context: RecordedContext;
  readonly #lives: Live[] = [];
  readonly #disposers: (() => Promise<void>)[] = [];
  #dials = 0;

  constructor(subject: ConnectorSubject<D, Live>, egress: EgressOptions) {
    this.#subject = subject;
    this.#timer = setTimeout(() => this.#guard.abort(), 3 * patienceMs);
    const context = createContext({
      signal: this.#abort.signal,
      egress,
      ...(subject.trust ? { trust: subject.trust } : {}),
    });
    const { network } = context;
    this.#context = {
      ...context,
      network: {
        resolve: (...args) => {
          this.#dials++;
          return network.resolve(...args);
        },
        connect: (...args) => {
          this.#dials++;
          return network.connect(...args);
        },
        secure: (...args) => network.secure(...args),
        datagram: (...args) => {
          this.#dials++;
          return network.datagram(...args);
        },
      },
    };
  }

  call(): CallContext {
    return { signal: this.#guard.signal };
  }

  dials(): number {
    return this.#dials;
  }

  abortOpen(): void {
    this.#abort.abort();
  }

  async open(config: ConfigOf<D>): Promise<Live> {
    const live = await this.#subject.connector.open(config, this.#context);
    this.#lives.push(live);
    return live;
  }

  /** The staged test as the worker runs it. */
  async test(config: ConfigOf<D>): Promise<TestResult> {
    const result = await testConnection(this.#subject.connector, config, this.#context);
    this.results.push(result);
    return result;
  }

  peer(onSocket: (socket: Socket) => void): Promise<Peer> {
    return startPeer({ after: (dispose) => this.#disposers.push(dispose) }, onSocket);
  }

  async dispose(): Promise<void> {
    try {
      for (const live of this.#lives) await within(this.#subject.connector.close(live), 'close');
    } finally {
      clearTimeout(this.#timer);
      for (const disposer of this.#disposers) await disposer();
    }
  }

  checkOwnPace(): void {
    assert.equal(this.#guard.signal.aborted, false, 'the connector did not give up by itself');
  }

  /** Everything that would leave the worker. */
  transcript(classify: (error: unknown) => AppError): string {
    const errors = this.errors
      .map(classify)
      .map(({ code, message, details }) => ({ code, message, details }));
    return JSON.stringify({
      errors,
      results: this.results,
      warnings: this.#context.warnings,
      logged: this.#context.logged,
    });
  }
}

async function failure<D extends ConnectionType, Live>(
  c: Case<D, Live>,
  attempt: Promise<unknown>,
  classify: (error: unknown) => AppError,
): Promise<AppError> {
  try {
    c.results.push(await attempt);
  } catch (error) {
    c.errors.push(error);
    const failed = classify(error);
    assert.notEqual(failed.code, 'internal_error', `not classified: ${error}`);
    return failed;
  }
  assert.fail('it was expected to fail');
}

function assertFailed(stages: StageResult[], stage: StageName, codes: ErrorCode[]): void {
  const failed = stages.filter(({ status }) => status === 'failed');
  assert.equal(failed.length, 1, JSON.stringify(stages));
  assert.equal(failed[0]?.stage, stage, JSON.stringify(stages));
  assert.ok(codes.includes(failed[0]?.code as ErrorCode), JSON.stringify(stages));
  const after = stages.slice(stages.indexOf(failed[0]!) + 1);
  for (const later of after) assert.equal(later.status, 'skipped', `${later.stage} after the failed stage`);
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patienceMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function resources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

interface AbortListeners {
  unwatch(): void;
  /** Listeners that stay on signals which may still abort. */
  left(): number;
}

/**
 * Watches who listens for aborts, on derived signals too: Node keeps a signal of `AbortSignal.any`
 * for as long as it has a listener.
 */
function watchAbortListeners(): AbortListeners {
  const signals = new Set<AbortSignal>();
  const original = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (
    this: EventTarget,
    ...args: Parameters<typeof original>
  ) {
    if (this instanceof AbortSignal) signals.add(this);
    original.apply(this, args);
  };
  return {
    unwatch() {
      EventTarget.prototype.addEventListener = original;
    },
    left: () =>
      [...signals]
        .filter((signal) => !signal.aborted)
        .reduce((sum, signal) => sum + getEventListeners(signal, 'abort').length, 0),
  };
}

/** Waits until no kind of resource is held more often than before; a peer needs a moment to notice a close. */
async function settled(before: Map<string, number>, listeners: AbortListeners): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const left = [...resources()]
      .filter(([kind, count]) => count > (before.get(kind) ?? 0))
      .map(([kind, count]) => `${kind}: ${before.get(kind) ?? 0} → ${count}`);
    if (listeners.left() > 0) left.push(`${listeners.left()} listeners for an abort`);
    if (left.length === 0) return;
    assert.ok(Date.now() < deadline, `left behind: ${left.join(', ')}`);
    await sleep(50);
  }
}

/** Fails when a secret is in the text: as it is, in JSON, URL, hex or base64 encoding at any offset. */
export function checkSecrets(secrets: readonly string[], transcript: string): void {
  for (const secret of secrets) {
    const bytes = Buffer.from(secret);
    const forms = [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      bytes.toString('hex'),
      ...[0, 1, 2].map((offset) => base64Core(bytes, offset)),
    ];
    for (const form of forms)
      assert.ok(
        form.length < 6 || !transcript.includes(form),
        `the secret leaks as ${form} in ${transcript}`,
      );
  }
}

/** The base64 digits that depend on the secret alone when `offset` bytes stand before it. */
function base64Core(bytes: Buffer, offset: number): string {
  const encoded = Buffer.concat([Buffer.alloc(offset), bytes])
    .toString('base64')
    .replace(/=+$/, '');
  const firstPure = offset === 0 ? 0 : offset + 1;
  return encoded.slice(firstPure, Math.floor(((offset + bytes.length) * 8) / 6));
}
