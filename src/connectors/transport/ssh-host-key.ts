import { createHash } from 'node:crypto';
import { AppError } from '../../errors.ts';

/**
 * What one live client knows of its server's host key: the configured fingerprint, or else the first
 * key that it saw, kept for its life.
 */
export class HostKeyPin {
  readonly #configured: string | undefined;
  #pinned: string | undefined;

  constructor(configured: string | undefined) {
    this.#configured = configured?.replace(/=$/, '');
  }

  get isConfigured(): boolean {
    return this.#configured !== undefined;
  }

  /** Fails with `host_key_mismatch` when another key is expected. */
  check(fingerprint: string): void {
    const expected = this.#configured ?? this.#pinned;
    if (expected === undefined || expected === fingerprint) return;
    throw new AppError(
      'host_key_mismatch',
      this.#configured === undefined
        ? `The server showed the host key ${fingerprint}; the first one seen here was ${expected}`
        : `The server showed the host key ${fingerprint}; hostKeyFingerprint expects ${expected}`,
      {
        details: {
          hint: 'Ask the operator of the server whether its host key was changed; only then set hostKeyFingerprint to the new one. Otherwise somebody may sit in between.',
        },
      },
    );
  }

  /** Keeps a key whose possession the server has proven. */
  accept(fingerprint: string): void {
    this.#pinned ??= fingerprint;
  }
}

/** `SHA256:…` as `ssh-keygen -lf` prints it. */
export function fingerprintOf(hostKey: Buffer): string {
  return `SHA256:${createHash('sha256').update(hostKey).digest('base64').replace(/=+$/, '')}`;
}
