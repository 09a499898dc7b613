import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { AppError, type ErrorCode } from '../../errors.ts';
import type { Network, Stages } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';

export interface HostTarget {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte; left out: plain. */
  readonly tls?: ConnectionOptions | undefined;
}

/** How a client is made on one of several hosts. */
export interface HostOpening<Target extends HostTarget, Client> {
  /** In the order in which they are tried. */
  readonly targets: readonly Target[];
  readonly network: Network;
  /** For TCP, and again for TLS, on each host; 0: no limit. */
  readonly connectTimeoutMs: number;
  /** Speaks the protocol until log-in is done. The socket is destroyed by the caller when this fails. */
  start(target: Target, socket: Socket, signal: AbortSignal): Promise<Client>;
  classify(error: unknown): AppError;
}

type Step = 'connect' | 'tls' | 'authenticate';
const steps: readonly Step[] = ['connect', 'tls', 'authenticate'];

/** Failures that another host would answer with as well, so that it is not asked (nor an account locked). */
const final = new Set<ErrorCode>([
  'authentication_failed',
  'permission_denied',
  'request_rejected',
  'invalid_configuration',
  'missing_reference',
  'cancelled',
]);

/** Opens a client on the first host that lets it; fails with what happened on each. */
export async function openOnAnyHost<Target extends HostTarget, Client>(
  opening: HostOpening<Target, Client>,
  signal: AbortSignal,
): Promise<Client> {
  const ascent = new Ascent(opening, signal);
  await ascent.climb('authenticate');
  return ascent.client!;
}

/** What a staged test adds to the opening. */
export interface HostTest<Target extends HostTarget, Client> {
  /** Why the stage `authenticate` is skipped; undefined: it is run. The protocol is spoken all the same. */
  readonly plainReason: string;
  /** What was seen when the client had been let in. */
  describe(client: Client, target: Target): string;
  /** What a person can do about a failure. */
  advise(failure: AppError, target: Target): string | undefined;
}

/** The stages `resolve` to `authenticate` over the steps that operations take; answers the client. */
export async function testHosts<Target extends HostTarget, Client>(
  stages: Stages,
  opening: HostOpening<Target, Client>,
  test: HostTest<Target, Client>,
  signal: AbortSignal,
): Promise<{ client: Client; target: Target }> {
  const { targets, network } = opening;
  const ascent = new Ascent(opening, signal);
  const climb = async (step: Step) => {
    try {
      await ascent.climb(step);
    } catch (error) {
      const failure = error instanceof AppError ? error : opening.classify(error);
      const hint = test.advise(failure, ascent.furthest?.target ?? ascent.target) ?? failure.details.hint;
      throw new AppError(failure.code, failure.message, {
        cause: error,
        details: { ...failure.details, ...(hint ? { hint } : {}) },
      });
    }
  };
  try {
    await stages.run('resolve', async (note) => {
      const hosts = [...new Set(targets.map(({ host }) => host))];
      const outcomes = await Promise.allSettled(hosts.map((host) => network.resolve(host, signal)));
      const said = outcomes.map((outcome, at) =>
        outcome.status === 'fulfilled'
          ? `${hosts[at]} → ${outcome.value.map(({ address }) => address).join(', ')}`
          : `${hosts[at]}: ${opening.classify(outcome.reason).message}`,
      );
      const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
      if (failed.length === outcomes.length) throw failed[0]!.reason;
      note.detail(said.join('; '));
      if (failed.length > 0) note.hint('Not every host can be resolved: correct or remove the others.');
    });
    await stages.run('connect', async (note) => {
      await climb('connect');
      note.detail(`${ascent.socket!.remoteAddress} port ${ascent.target.port}${ascent.account()}`);
      if (ascent.failures.length > 0) note.hint('Not every host works: a failover would fail there.');
    });
    if (ascent.target.tls)
      await stages.run('tls', async (note) => {
        await climb('tls');
        note.detail(describeTls(ascent.socket as TLSSocket, 'implicit') + ascent.account());
      });
    else stages.skip('tls', test.plainReason);
    await stages.run('authenticate', async (note) => {
      await climb('authenticate');
      note.detail(test.describe(ascent.client!, ascent.target) + ascent.account());
    });
    return { client: ascent.client!, target: ascent.target };
  } catch (error) {
    ascent.socket?.destroy();
    throw error;
  }
}

interface Failure<Target> {
  readonly target: Target;
  readonly step: Step;
  readonly error: AppError;
}

/** Takes the hosts in turn, each from the bottom: a host that fails is left for the next. */
class Ascent<Target extends HostTarget, Client> {
  readonly failures: Failure<Target>[] = [];
  socket: Socket | undefined;
  client: Client | undefined;
  readonly #opening: HostOpening<Target, Client>;
  readonly #signal: AbortSignal;
  #host = 0;
  #done = 0;

  constructor(opening: HostOpening<Target, Client>, signal: AbortSignal) {
    this.#opening = opening;
    this.#signal = signal;
  }

  get target(): Target {
    return this.#opening.targets[Math.min(this.#host, this.#opening.targets.length - 1)]!;
  }

  /** The failure that came closest to the client; of equals the first. */
  get furthest(): Failure<Target> | undefined {
    return this.failures.toSorted((a, b) => steps.indexOf(b.step) - steps.indexOf(a.step))[0];
  }

  /** What happened on the hosts that were left, as the rest of a sentence. */
  account(): string {
    return this.failures
      .map(({ target, error }) => `; before that ${nameOf(target)}: ${error.message}`)
      .join('');
  }

  async climb(step: Step): Promise<void> {
    while (this.#done <= steps.indexOf(step)) {
      const next = steps[this.#done]!;
      try {
        await this.#take(next);
        this.#done++;
      } catch (cause) {
        this.socket?.destroy();
        this.socket = undefined;
        const error = cause instanceof AppError ? cause : this.#opening.classify(cause);
        this.failures.push({ target: this.target, step: next, error });
        if (this.#signal.aborted || final.has(error.code)) throw error;
        this.#host++;
        this.#done = 0;
        if (this.#host >= this.#opening.targets.length) throw this.#exhausted();
      }
    }
  }

  async #take(step: Step): Promise<void> {
    const { network, start } = this.#opening;
    const { host, port, tls } = this.target;
    const timeoutMs = this.#opening.connectTimeoutMs || 2 ** 31 - 1;
    const signal = this.#signal;
    if (step === 'connect') {
      this.socket = await network.connect({ host, port, timeoutMs, signal });
      this.socket.setNoDelay(true);
    } else if (step === 'tls') {
      if (tls) this.socket = await network.secure(this.socket!, { ...tls, host, timeoutMs, signal });
    } else this.client = await start(this.target, this.socket!, signal);
  }

  #exhausted(): AppError {
    const { error } = this.furthest!;
    if (this.failures.length === 1) return error;
    const each = this.failures.map((failure) => `${nameOf(failure.target)}: ${failure.error.message}`);
    return new AppError(error.code, `None of the hosts could be used: ${each.join('; ')}`, {
      cause: error,
      details: error.details,
    });
  }
}

function nameOf({ host, port }: HostTarget): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`;
}
