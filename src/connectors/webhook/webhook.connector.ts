import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector, type StageNote } from '../connector.ts';
import { adopt, HttpConnections } from '../http/http-connections.ts';
import { dialHost, HttpDialler } from '../http/http-dialler.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import { type Answer, exchange } from '../http/http-exchange.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { webhook } from './webhook.definition.ts';
import { readableBody, secretValues } from './webhook-answer.ts';
import {
  composeMessage,
  firstHop,
  type Message,
  nextHop,
  readTarget,
  type Target,
  type WebhookConfig,
  wireHeaders,
} from './webhook-request.ts';

const maxBodyBytes = 1024 * 1024;
const firstBackoffMs = 250;
const maxBackoffMs = 10_000;
/** A target that wants to be left alone for longer gets no retry from us: the caller decides. */
const maxRetryAfterMs = 30_000;

export const webhookConnector = defineConnector<typeof webhook, LiveWebhook>(webhook, {
  open,

  async prove({ target, dialler, ended }, { signal }) {
    // No request: whatever is sent to a webhook may be the action itself.
    const socket = await dialler.dial(target.url, AbortSignal.any([signal, ended]));
    socket.destroy();
  },

  async test(config, stages, ctx) {
    const live = open(config, ctx);
    const { target, dialler } = live;
    const { url } = target;
    let socket: Socket | undefined;
    try {
      await stages.run('resolve', async (note) => {
        const host = dialHost(url);
        const addresses = await ctx.network.resolve(host, ctx.signal);
        note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
      });
      const tcp = await stages.run('connect', async (note) => {
        const connected = await dialler.connect(url, dialler.timeoutMs, ctx.signal);
        note.detail(`${connected.remoteAddress} port ${connected.remotePort}`);
        return connected;
      });
      socket = tcp;
      if (url.protocol === 'https:') {
        socket = await stages.run('tls', async (note) => {
          const secured = await dialler.secure(tcp, url, dialler.timeoutMs, ctx.signal);
          note.detail(describeTls(secured, 'https'));
          if (!config.verifyCertificate)
            note.hint('The certificate is not verified: verifyCertificate is off.');
          return secured;
        });
      } else {
        stages.skip('tls', 'the URL is plain http: whatever is sent can be read on the way');
      }
      const asking = askOptions(live, socket, ctx.signal);
      const status = await asking.catch(() => undefined);
      if (status === 401 || status === 407)
        await stages.run('authenticate', async (note) => {
          note.hint(
            'Check the credentials in headerList or fullUrl, and whether the target wants any for OPTIONS.',
          );
          throw new AppError('authentication_failed', `OPTIONS was answered with ${status}`);
        });
      stages.skip(
        'authenticate',
        'HTTP has no log-in of its own; OPTIONS need not have checked the credentials',
      );
      await stages.run('operate', async (note) => judgeOptions(await asking, note));
    } finally {
      socket?.destroy();
      await live.close();
    }
  },

  operations: {
    async call(live, input, { signal }) {
      const message = composeMessage(live.target, input);
      const answer = await deliver(live, message, AbortSignal.any([signal, live.ended]));
      return {
        status: answer.status,
        headers: answer.headers,
        ...readableBody(answer.body, answer.headers, answer.truncated, () => secretValues(live.config)),
        truncated: answer.truncated,
      };
    },
  },

  figures: (live) => live.figures(),

  close: (live) => live.close(),

  classify: classifyHttpError,
});

function open(config: WebhookConfig, ctx: ConnectorContext): LiveWebhook {
  const target = readTarget(config, ctx.warn);
  return new LiveWebhook(config, target, dialling(config, target, ctx), ctx);
}

/** What sockets need is made for the first proof or call: thousands of connections may lie idle. */
class LiveWebhook {
  readonly config: WebhookConfig;
  readonly target: Target;
  readonly dialler: HttpDialler;
  readonly #context: Pick<ConnectorContext, 'signal'>;
  #connections: HttpConnections | undefined;
  #end: AbortController | undefined;
  #isClosed = false;

  constructor(
    config: WebhookConfig,
    target: Target,
    dialler: HttpDialler,
    context: Pick<ConnectorContext, 'signal'>,
  ) {
    this.config = config;
    this.target = target;
    this.dialler = dialler;
    this.#context = context;
  }

  get responseTimeoutMs(): number {
    const { responseTimeoutSeconds, timeout } = this.config;
    return (responseTimeoutSeconds ?? timeout) * 1000;
  }

  get connections(): HttpConnections {
    this.#connections ??= new HttpConnections(this.dialler, {
      perOrigin: this.config.connectionPoolMaxConnectionPerHost,
      total: this.config.connectionPoolMaxConnectionTotal,
    });
    return this.#connections;
  }

  figures(): Record<string, number> {
    return this.#connections?.figures() ?? { connected: 0, free: 0, pending: 0, running: 0 };
  }

  /** Aborted by `close`, and by the end of the connection's life. */
  get ended(): AbortSignal {
    if (!this.#end) {
      this.#end = new AbortController();
      const { signal } = this.#end;
      const life = this.#context.signal;
      life.addEventListener('abort', () => void this.close(), { once: true, signal });
      if (this.#isClosed || life.aborted) this.#end.abort(closedError());
    }
    return this.#end.signal;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#end?.abort(closedError());
    await this.#connections?.close();
  }
}

function closedError(): AppError {
  return new AppError('cancelled', 'The connection was closed');
}

function dialling(config: WebhookConfig, target: Target, { network, trust }: ConnectorContext): HttpDialler {
  const usesTls = target.url.protocol === 'https:' || config.followRedirects > 0;
  const timeoutMs = (config.connectTimeoutSeconds ?? config.timeout) * 1000;
  if (!usesTls) return new HttpDialler(network, { timeoutMs, tls: () => ({}) });
  const own = trust.tls(config);
  // Another origin, reached by a redirect, is not for the client certificate to see.
  const { cert: _cert, key: _key, pfx: _pfx, passphrase: _passphrase, ...foreign } = own;
  return new HttpDialler(network, {
    timeoutMs,
    tls: (origin) => (origin.origin === target.url.origin ? own : foreign),
  });
}

/** Sends the message until it is answered, within the configured retries. */
async function deliver(live: LiveWebhook, message: Message, signal: AbortSignal): Promise<Answer> {
  const { retries } = live.config;
  for (let attempt = 0; ; attempt++) {
    const mayRetry = attempt < retries;
    const progress = { sent: false };
    let waitMs: number | undefined;
    try {
      const answer = await follow(live, message, progress, signal);
      waitMs = mayRetry && message.repeatable ? askedDelayMs(answer) : undefined;
      if (waitMs === undefined) return answer;
    } catch (error) {
      const failure = error instanceof AppError ? error : classifyHttpError(error);
      const repeatable = message.repeatable || !progress.sent;
      if (!mayRetry || !repeatable || !failure.retryable || signal.aborted) throw failure;
    }
    await sleep(Math.max(waitMs ?? 0, backoffMs(attempt)), undefined, { signal });
  }
}

/** One attempt, with the redirects that it follows. */
async function follow(
  live: LiveWebhook,
  message: Message,
  progress: { sent: boolean },
  signal: AbortSignal,
): Promise<Answer> {
  const limits = { timeoutMs: live.responseTimeoutMs, maxBodyBytes };
  let hop = firstHop(message);
  for (let followed = 0; ; followed++) {
    const connection = await live.connections.acquire(hop.url, signal);
    let answer: Answer;
    try {
      progress.sent = true;
      const headers = wireHeaders(message, hop, Math.floor(Date.now() / 1000));
      answer = await exchange(connection, { ...hop, headers }, limits, signal);
    } finally {
      live.connections.release(connection);
    }
    if (followed === live.config.followRedirects) return answer;
    const next = nextHop(message, hop, answer.status, answer.headers['location']?.[0]);
    if (!next) return answer;
    hop = next;
  }
}

/** How long a 429 or 503 asks to wait (RFC 9110 10.2.3); undefined when it does not, or for too long. */
function askedDelayMs({ status, headers }: Answer): number | undefined {
  const text = headers['retry-after']?.[0];
  if ((status !== 429 && status !== 503) || text === undefined) return undefined;
  const delayMs = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return delayMs <= maxRetryAfterMs ? Math.max(0, delayMs) : undefined;
}

/** Doubles with every attempt, with up to a half of it by chance, so that callers do not return in step. */
function backoffMs(attempt: number): number {
  const fullMs = Math.min(maxBackoffMs, firstBackoffMs * 2 ** attempt);
  return fullMs * (1 - Math.random() / 2);
}

async function askOptions(live: LiveWebhook, socket: Socket, signal: AbortSignal): Promise<number> {
  const message = composeMessage({ ...live.target, method: 'OPTIONS' }, {});
  const hop = firstHop(message);
  const headers = wireHeaders(message, hop, Math.floor(Date.now() / 1000));
  const limits = { timeoutMs: live.responseTimeoutMs, maxBodyBytes };
  const connection = await adopt(hop.url, socket, () => {});
  const { status } = await exchange(connection, { ...hop, headers }, limits, signal);
  return status;
}

function judgeOptions(status: number, note: StageNote): void {
  note.detail(`OPTIONS was answered with ${status}`);
  if (status === 403) {
    note.hint(
      'The target may forbid OPTIONS alone, its firewall this worker, or the credentials lack a right.',
    );
    throw new AppError('permission_denied', `OPTIONS was answered with ${status}`);
  }
  if (status >= 500) note.hint('The target can be reached, but says that it has a fault of its own.');
  else if (status === 404)
    note.hint('Check the path: the target does not know it, at least not for OPTIONS.');
  else if (status >= 300 && status < 400)
    note.hint('The target redirects; a redirect is followed only where followRedirects says so.');
}
