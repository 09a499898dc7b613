import type { TSchema } from 'typebox';
import { optional, type Rule, secret, text } from './connection-type.ts';
import { normaliseEndpoint } from './endpoint.ts';

/** SHA-256 of a host key, as `ssh-keygen -lf` prints it; the padding may stand there. */
export const FINGERPRINT_PATTERN = '^SHA256:[A-Za-z0-9+/]{43}=?$';

/** How a client proves itself over SSH besides a password, and how it knows the server. */
export const sshFields = {
  privateKey: optional(
    secret({
      title: 'Private key',
      description:
        'Private key to log in with, as text in PEM or OpenSSH format, line breaks included. With it the password may be left out; given both, the key is tried first.',
      multiline: true,
      examples: ['-----BEGIN OPENSSH PRIVATE KEY-----\n(base64 lines)\n-----END OPENSSH PRIVATE KEY-----\n'],
    }),
  ),
  passphrase: optional(
    secret({
      title: 'Passphrase',
      description: 'Opens the private key; left out for a key that is not encrypted.',
      maxLength: 4096,
    }),
  ),
  hostKeyFingerprint: optional(
    text({
      title: 'Host key fingerprint',
      description:
        "SHA-256 fingerprint of the server's host key, as `ssh-keygen -lf` prints it. When set, the server must show that key. When not, the first key that each environment sees is pinned, and a later change fails the connection until it is accepted by trust-host-key.",
      group: 'target',
      maxLength: 51,
      pattern: FINGERPRINT_PATTERN,
      patternHelp: 'must be SHA256: followed by 43 characters of base64, as ssh-keygen -lf prints it',
      destination: 'address',
      examples: ['SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8'],
    }),
  ),
} satisfies Record<string, TSchema>;

/** The `host:port` whose host key is pinned on first use; undefined when a fingerprint is configured. */
export function pinnedServer(
  { hostKeyFingerprint }: { hostKeyFingerprint?: string | null },
  host: string,
  port: number,
): string | undefined {
  return hostKeyFingerprint ? undefined : normaliseEndpoint(host, port);
}

/** Over SSH one of password and private key is enough. */
export const sshLoginRule = {
  require: [['password', 'privateKey']],
  message: 'is required unless privateKey is given',
} as const satisfies Omit<Rule, 'when'>;
