import { lookup } from 'node:dns/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { Connector, ConnectorContext, Network, Stages, Trust } from '../../src/connectors/connector.ts';
import { STAGES, type StageName, type StageResult } from '../../src/contract/worker-protocol.ts';
import { AppError, type ErrorCode } from '../../src/errors.ts';

/** What a connector said through its context. */
export interface RecordedContext extends ConnectorContext {
  readonly warnings: string[];
  /** Log lines as one text each. */
  readonly logged: string[];
}

/** A context as the worker would give it, without an egress policy; `trust` defaults to the system's roots. */
export function createContext(options: { signal: AbortSignal; trust?: Trust }): RecordedContext {
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
    network: createNetwork(),
    trust: options.trust ?? {
      tls: ({ verifyCertificate }) => ({ rejectUnauthorized: verifyCertificate !== false }),
    },
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

/** Stages that keep what was reported; a stage after a failed one is skipped. */
export function recordStages(connector: Pick<Connector, 'classify'>): Stages & { results(): StageResult[] } {
  const seen = new Map<StageName, StageResult>();
  return {
    async run(stage, work) {
      let detail: string | undefined;
      let hint: string | undefined;
      const report = (result: StageResult) =>
        seen.set(stage, { ...result, ...(detail ? { detail } : {}), ...(hint ? { hint } : {}) });
      try {
        const value = await work({
          detail: (text) => {
            detail = text;
          },
          hint: (text) => {
            hint = text;
          },
        });
        report({ stage, status: 'passed' });
        return value;
      } catch (error) {
        const failure = error instanceof AppError ? error : connector.classify(error);
        detail ??= failure.message;
        hint ??= failure.details.hint;
        report({ stage, status: 'failed', code: failure.code, retryable: failure.retryable });
        throw failure;
      }
    },
    skip(stage, detail) {
      seen.set(stage, { stage, status: 'skipped', detail });
    },
    results: () => STAGES.map((stage) => seen.get(stage) ?? { stage, status: 'skipped' }),
  };
}

function createNetwork(): Network {
  return {
    async resolve(host) {
      try {
        return (await lookup(host, { all: true })) as { address: string; family: 4 | 6 }[];
      } catch (cause) {
        throw new AppError('name_not_resolved', undefined, { cause });
      }
    },
    connect({ host, port, timeoutMs, signal }) {
      return settle(connectTcp({ host, port }), 'connect', { timeoutMs, signal }, 'connect_timeout');
    },
    secure(socket, { timeoutMs, signal, ...options }) {
      const tls = connectTls({ ...options, socket });
      return settle(tls, 'secureConnect', { timeoutMs, signal }, 'target_timeout');
    },
  };
}

const codes: Record<string, ErrorCode> = {
  ECONNREFUSED: 'connection_refused',
  EHOSTUNREACH: 'host_unreachable',
  ENETUNREACH: 'host_unreachable',
  ETIMEDOUT: 'connect_timeout',
  ECONNRESET: 'connection_lost',
  EPIPE: 'connection_lost',
  CERT_HAS_EXPIRED: 'certificate_expired',
  CERT_NOT_YET_VALID: 'certificate_expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate_wrong_host',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'certificate_untrusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'certificate_untrusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'certificate_untrusted',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'certificate_untrusted',
};

function settle<S extends Socket | TLSSocket>(
  socket: S,
  event: string,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
  timeoutCode: ErrorCode,
): Promise<S> {
  return new Promise((resolve, reject) => {
    const finish = (error?: Error) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.off(event, onReady).off('error', finish).off('close', onClose);
      if (!error) return resolve(socket);
      socket.on('error', () => {}).destroy();
      if (error instanceof AppError) return reject(error);
      const code = codes[(error as NodeJS.ErrnoException).code ?? ''];
      reject(
        new AppError(code ?? (event === 'secureConnect' ? 'tls_failed' : 'connection_lost'), undefined, {
          cause: error,
        }),
      );
    };
    const onReady = () => finish();
    const onClose = () => finish(new AppError('connection_lost'));
    const onAbort = () => finish(new AppError('cancelled'));
    const timer = setTimeout(() => finish(new AppError(timeoutCode)), timeoutMs);
    socket.once(event, onReady).once('error', finish).once('close', onClose);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
  });
}
