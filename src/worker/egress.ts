import { lookup as systemLookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Network } from '../connectors/connector.ts';
import { describeCertificate } from '../connectors/transport/describe-tls.ts';
import { classifyHandshakeError, HandshakeCutOff } from '../connectors/transport/tls-errors.ts';
import { AppError } from '../errors.ts';
import { formatAddress, type IpAddress, parseAddress } from './address.ts';
import { openDatagram } from './datagram.ts';
import type { EgressPolicy } from './egress-policy.ts';

export interface NetworkOptions {
  policy: EgressPolicy;
  /** Answers every address of a name; default: the system's resolver. */
  lookup?: (host: string) => Promise<{ address: string; family: number }[]>;
  /** How long one address may take before the next is tried beside it; default 250 ms (RFC 8305). */
  attemptDelayMs?: number;
}

const defaultLookup = (host: string) => systemLookup(host, { all: true, order: 'verbatim' });

/**
 * The worker's way out. The policy is checked on the very address that is dialled: there is no second
 * look-up between check and dial that could answer another one.
 */
export function createNetwork(options: NetworkOptions): Network {
  const { policy, lookup = defaultLookup, attemptDelayMs = 250 } = options;

  async function addressesOf(host: string, signal?: AbortSignal): Promise<IpAddress[]> {
    const literal = parseAddress(host);
    if (literal) return [literal];
    if (host === '' || host === '.' || host.length > 254) throw notResolved(host);
    const found = await abortable(lookup(host), signal).catch((error: unknown) => {
      throw error instanceof AppError ? error : resolutionError(host, error);
    });
    const addresses = found.flatMap(({ address }) => parseAddress(address) ?? []);
    if (addresses.length === 0) throw notResolved(host);
    return addresses;
  }

  /** The addresses that may be dialled; the refusal of the first when none may. */
  function permitted(host: string, addresses: IpAddress[], port: number | undefined): IpAddress[] {
    let refusal: unknown;
    const open = addresses.filter((address) => {
      try {
        policy.check(host, address, port);
        return true;
      } catch (error) {
        refusal ??= error;
        return false;
      }
    });
    if (open.length === 0) throw refusal;
    return open;
  }

  /** Our own database may be known by a name; what that leads to is closed under any other name too. */
  async function learnOwnAddresses(): Promise<void> {
    const names = new Set(policy.own.map(({ host }) => host).filter((host) => !parseAddress(host)));
    await Promise.all(
      [...names].map(async (name) => {
        const addresses = await addressesOf(name).catch(() => undefined);
        if (addresses) policy.noteOwn(name, addresses);
      }),
    );
  }

  return {
    async resolve(host, signal) {
      const addresses = permitted(host, await addressesOf(host, signal), undefined);
      return addresses.map((address) => ({ address: formatAddress(address), family: address.family }));
    },

    async connect({ host, port, timeoutMs, signal }) {
      // Not AbortSignal.timeout and any: every dial would leave a timer behind that fires for nobody.
      const dialling = new AbortController();
      const either = dialling.signal;
      let isLate = false;
      const timer = setTimeout(
        () => {
          isLate = true;
          dialling.abort();
        },
        Math.max(1, Math.min(timeoutMs, 2 ** 31 - 1)),
      );
      const onAbort = () => dialling.abort(signal!.reason);
      if (signal?.aborted) onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        if (policy.own.some((endpoint) => endpoint.port === port))
          await abortable(learnOwnAddresses(), either);
        const addresses = permitted(host, await addressesOf(host, either), port);
        return await dialFirst(interleaveFamilies(addresses), port, attemptDelayMs, either);
      } catch (error) {
        if (signal?.aborted) throw cancelled(signal);
        if (isLate)
          throw new AppError(
            'connect_timeout',
            `${target(host, port)} did not accept within ${timeoutMs} ms`,
          );
        throw connectError(error, target(host, port));
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      }
    },

    async datagram({ host, port, sendBufferBytes, onMessage, onFailure, signal }) {
      if (policy.own.some((endpoint) => endpoint.port === port)) await abortable(learnOwnAddresses(), signal);
      const addresses = permitted(host, await addressesOf(host, signal), port);
      const where = target(host, port);
      let failure: unknown;
      for (const address of addresses) {
        if (signal?.aborted) throw cancelled(signal);
        try {
          return await openDatagram(address, port, { where, sendBufferBytes, onMessage, onFailure });
        } catch (error) {
          failure ??= error;
        }
      }
      throw connectError(failure, where);
    },

    secure(socket, { host, timeoutMs, signal, ...tls }) {
      return new Promise((resolve, reject) => {
        const name = host.replace(/\.$/, '').replace(/^\[|\]$/g, '');
        const secured = connectTls({
          minVersion: 'TLSv1.2',
          ...(isIP(name) ? {} : { servername: name }),
          ...tls,
          host: name,
          socket,
        });
        let shown: string[] = [];
        // Before Node looks whether it can be trusted: afterwards there is nothing left to ask.
        secured.prependOnceListener('secure', () => {
          if (tls.rejectUnauthorized !== false) shown = describeCertificate(secured);
        });
        const fail = (error: AppError) => {
          settle();
          secured.destroy();
          socket.destroy();
          reject(withCertificate(error, shown));
        };
        const onAbort = () => fail(cancelled(signal!));
        const timer = setTimeout(
          () => fail(new AppError('target_timeout', `The TLS handshake took longer than ${timeoutMs} ms`)),
          timeoutMs,
        );
        const onError = (error: Error) => fail(classifyHandshakeError(error, name));
        const onClose = () => fail(new HandshakeCutOff());
        const settle = () => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
          secured.off('close', onClose);
          secured.off('error', onError);
          // An error between now and the connector's own listener must not be out of band.
          secured.on('error', ignore);
        };
        secured.on('error', onError);
        secured.on('close', onClose);
        secured.once('secureConnect', () => {
          settle();
          resolve(secured);
        });
        if (signal?.aborted) onAbort();
        else signal?.addEventListener('abort', onAbort, { once: true });
      });
    },
  };
}

function ignore() {}

/** A certificate that was not taken, with what it says of itself. */
function withCertificate(error: AppError, shown: string[]): AppError {
  if (!error.code.startsWith('certificate_') || shown.length === 0) return error;
  const { code, message, cause, details } = error;
  return new AppError(code, `${message}: ${shown.join(', ')}`, { cause, details });
}

function target(host: string, port: number): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** RFC 8305: families take turns, beginning with that of the resolver's first choice. */
function interleaveFamilies(addresses: IpAddress[]): IpAddress[] {
  const first = addresses.filter(({ family }) => family === addresses[0]!.family);
  const second = addresses.filter(({ family }) => family !== addresses[0]!.family);
  const ordered: IpAddress[] = [];
  for (let at = 0; at < Math.max(first.length, second.length); at++)
    for (const list of [first, second]) if (list[at]) ordered.push(list[at]!);
  return ordered;
}

/** Dials one address after the other, the next as soon as one fails or is slow; the first to connect wins. */
function dialFirst(
  addresses: IpAddress[],
  port: number,
  attemptDelayMs: number,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const open = new Set<Socket>();
    const errors: unknown[] = [];
    let next = 0;
    let timer: NodeJS.Timeout | undefined;

    const finish = (winner?: Socket) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      for (const socket of open) if (socket !== winner) socket.destroy();
    };
    const onAbort = () => {
      finish();
      reject(cancelled(signal));
    };
    const attempt = () => {
      clearTimeout(timer);
      const address = addresses[next++]!;
      const socket = connectTcp({ host: formatAddress(address), port, family: address.family });
      open.add(socket);
      socket.once('connect', () => {
        finish(socket);
        socket.off('error', onError);
        resolve(socket);
      });
      // Stays for ever: an error before the connector listens must not be out of band.
      socket.on('error', ignore);
      const onError = (error: Error) => {
        open.delete(socket);
        errors.push(error);
        if (next < addresses.length) attempt();
        else if (open.size === 0) {
          finish();
          reject(errors.length === 1 ? error : new AggregateError(errors));
        }
      };
      socket.once('error', onError);
      if (next < addresses.length) timer = setTimeout(attempt, attemptDelayMs);
    };

    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    attempt();
  });
}

function abortable<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(cancelled(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function cancelled(signal: AbortSignal): AppError {
  return signal.reason instanceof AppError
    ? signal.reason
    : new AppError('cancelled', undefined, { cause: signal.reason });
}

function notResolved(host: string, cause?: unknown): AppError {
  return new AppError('name_not_resolved', `The host name '${host}' could not be resolved`, { cause });
}

function resolutionError(host: string, error: unknown): AppError {
  return codeOf(error) === 'EAI_AGAIN'
    ? new AppError('name_not_resolved', `The name server did not answer for '${host}'`, { cause: error })
    : notResolved(host, error);
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

const connectCodes: Record<
  string,
  'connection_refused' | 'host_unreachable' | 'connect_timeout' | 'connection_lost'
> = {
  ECONNREFUSED: 'connection_refused',
  EHOSTUNREACH: 'host_unreachable',
  ENETUNREACH: 'host_unreachable',
  EHOSTDOWN: 'host_unreachable',
  ENETDOWN: 'host_unreachable',
  EADDRNOTAVAIL: 'host_unreachable',
  EINVAL: 'host_unreachable',
  EACCES: 'host_unreachable',
  EPERM: 'host_unreachable',
  EAFNOSUPPORT: 'host_unreachable',
  ETIMEDOUT: 'connect_timeout',
  ECONNRESET: 'connection_lost',
  EPIPE: 'connection_lost',
  ECONNABORTED: 'connection_lost',
};

/**
 * An error of a dial as one of ours. Of several addresses' errors (AggregateError) a refusal says more
 * than a missing route, which is often only the family that this network does not have.
 */
export function connectError(error: unknown, where: string): AppError {
  if (error instanceof AppError) return error;
  const errors = error instanceof AggregateError ? error.errors : [error];
  const order = ['connection_refused', 'connect_timeout', 'connection_lost', 'host_unreachable'] as const;
  const codes = new Set(errors.map((each) => connectCodes[codeOf(each)] ?? 'host_unreachable'));
  const code = order.find((candidate) => codes.has(candidate))!;
  const said = {
    connection_refused: 'refused the TCP connection',
    connect_timeout: 'did not accept the connection in time',
    connection_lost: 'closed the connection',
    host_unreachable: 'cannot be reached',
  }[code];
  return new AppError(code, `${where} ${said}`, { cause: error });
}
