import { createPrivateKey, type KeyObject } from 'node:crypto';
import ssh2 from 'ssh2';
import { AppError } from '../../errors.ts';

/**
 * A private key in the form that the SSH client reads; PKCS#8 is converted. Fails with
 * `invalid_configuration`, without a word of the key.
 */
export function readPrivateKey(privateKey: string, passphrase: string | undefined): string {
  const key = /-----BEGIN (ENCRYPTED )?PRIVATE KEY-----/.test(privateKey)
    ? convertPkcs8(privateKey, passphrase)
    : privateKey;
  const parsed = ssh2.utils.parseKey(key, key === privateKey ? passphrase : undefined);
  // The parser answers a list for formats that may hold several keys.
  const first = Array.isArray(parsed) ? parsed[0] : parsed;
  if (first === undefined || first instanceof Error) throw unusable(privateKey, passphrase, first);
  if (!first.isPrivateKey()) throw publicKey();
  return key;
}

function unusable(privateKey: string, passphrase: string | undefined, cause: unknown): AppError {
  const said = cause instanceof Error ? cause.message : '';
  if (/PUBLIC KEY-----/.test(privateKey)) return publicKey();
  if (!passphrase && (/passphrase|encrypted/i.test(said) || /ENCRYPTED/.test(privateKey)))
    return new AppError('invalid_configuration', 'privateKey is encrypted: give its passphrase');
  if (passphrase && /-----BEGIN/.test(privateKey))
    return new AppError('invalid_configuration', 'privateKey cannot be opened with this passphrase');
  return new AppError(
    'invalid_configuration',
    'privateKey is not a private key in PEM or OpenSSH format; give the whole text, line breaks included',
  );
}

function publicKey(): AppError {
  return new AppError('invalid_configuration', 'privateKey holds a public key, not a private one');
}

function convertPkcs8(privateKey: string, passphrase: string | undefined): string {
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: privateKey, ...(passphrase ? { passphrase } : {}) });
  } catch (error) {
    throw unusable(privateKey, passphrase, error);
  }
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return key.export({ type: 'pkcs1', format: 'pem' }) as string;
    case 'ec':
      return key.export({ type: 'sec1', format: 'pem' }) as string;
    case 'ed25519':
      return openSshEd25519(key);
    default:
      throw new AppError(
        'invalid_configuration',
        `privateKey is of the kind ${key.asymmetricKeyType}, which SSH does not know`,
      );
  }
}

/** OpenSSH's PROTOCOL.key: the only form of an Ed25519 key that SSH clients know. */
function openSshEd25519(key: KeyObject): string {
  const { x, d } = key.export({ format: 'jwk' }) as { x: string; d: string };
  const publicKey = Buffer.from(x, 'base64url');
  const field = (value: string | Buffer) => {
    const bytes = Buffer.from(value as string);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const publicPart = Buffer.concat([field('ssh-ed25519'), field(publicKey)]);
  const check = Buffer.alloc(8);
  const body = Buffer.concat([
    check,
    publicPart,
    field(Buffer.concat([Buffer.from(d, 'base64url'), publicKey])),
    field(''),
  ]);
  const padding = Buffer.from(Array.from({ length: (8 - (body.length % 8)) % 8 }, (_, at) => at + 1));
  const one = Buffer.from([0, 0, 0, 1]);
  const blob = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    field('none'),
    field('none'),
    field(''),
    one,
    field(publicPart),
    field(Buffer.concat([body, padding])),
  ]);
  const lines = blob.toString('base64').match(/.{1,70}/g)!;
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`;
}
