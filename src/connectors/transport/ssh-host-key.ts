import { createHash } from 'node:crypto';
import { normaliseEndpoint } from '../../contract/endpoint.ts';
import type { HostKey } from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import type { ConnectorContext } from '../connector.ts';

/** Which host key one server has to show: the configured one, else the pinned one, else any once. */
export class HostKeyPin {
  readonly #configured: string | undefined;
  readonly #server: string;
  readonly #ctx: ConnectorContext;

  constructor(configured: string | undefined, host: string, port: number, ctx: ConnectorContext) {
    this.#configured = configured?.replace(/=$/, '');
    this.#server = normaliseEndpoint(host, port);
    this.#ctx = ctx;
  }

  /** What to do about a key that was trusted only because it is the first; undefined when it was expected. */
  get advice(): string | undefined {
    const { hostKeys } = this.#ctx;
    if (this.#configured !== undefined || hostKeys.isPinned(this.#server)) return undefined;
    const seen = hostKeys.expected(this.#server)?.fingerprint ?? 'that of the server';
    return `The host key was trusted because it is the first one seen: compare it with the server's own (ssh-keygen -lf), or set hostKeyFingerprint to ${seen}.`;
  }

  /** Fails with `host_key_mismatch` when another key is expected. */
  check(blob: Buffer): void {
    const { hostKeys, environment, name } = this.#ctx;
    const key = hostKeyOf(this.#server, blob);
    const shown = `${this.#server} showed the host key ${key.algorithm} ${key.fingerprint}`;
    const caution =
      'Ask the operator of the server whether its host key was changed; otherwise somebody may sit in between.';
    if (this.#configured !== undefined) {
      if (this.#configured === key.fingerprint) return;
      throw new AppError('host_key_mismatch', `${shown}; hostKeyFingerprint expects ${this.#configured}`, {
        details: { hint: `${caution} Only then set hostKeyFingerprint to the new one.` },
      });
    }
    const expected = hostKeys.expected(this.#server);
    if (expected === undefined || expected.fingerprint === key.fingerprint) return;
    hostKeys.refuse(key);
    throw new AppError(
      'host_key_mismatch',
      `${shown}; the one pinned in environment '${environment}' is ${expected.algorithm} ${expected.fingerprint}. A new key is accepted by trust-host-key`,
      {
        details: {
          hint: `${caution} Only then accept the new one: POST …/connections/${encodeURIComponent(name)}/trust-host-key/?environment=${encodeURIComponent(environment)} with {"fingerprint": "${key.fingerprint}"}, or plugboard trust-host-key.`,
        },
      },
    );
  }

  /** Keeps a key whose possession the server has proven. */
  accept(blob: Buffer): void {
    if (this.#configured === undefined) this.#ctx.hostKeys.accept(hostKeyOf(this.#server, blob));
  }
}

/** `SHA256:…` as `ssh-keygen -lf` prints it. */
export function fingerprintOf(hostKey: Buffer): string {
  return `SHA256:${createHash('sha256').update(hostKey).digest('base64').replace(/=+$/, '')}`;
}

/** The blob begins with the name of its algorithm, length first (RFC 4253 6.6). */
function hostKeyOf(server: string, blob: Buffer): HostKey {
  const name = blob.length > 4 ? blob.toString('latin1', 4, 4 + Math.min(blob.readUInt32BE(0), 64)) : '';
  const algorithm = name.replace(/[^\x21-\x7e]/g, '');
  return { server, algorithm, fingerprint: fingerprintOf(blob) };
}
