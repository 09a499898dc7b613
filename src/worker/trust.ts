import type { ConnectionOptions } from 'node:tls';
import type { Trust } from '../connectors/connector.ts';
import { foldName } from '../contract/validation.ts';
import type { TrustObjects } from '../contract/worker-protocol.ts';
import { AppError } from '../errors.ts';
import { type OpenedKeystore, openCertificates, openKeystore } from '../trust-material/keystore.ts';

type StoredKeystore = TrustObjects['keystores'][string];

/** A stored keystore as it was opened, or why it cannot be. */
interface UsableKeystore {
  alias: string | undefined;
  opened: OpenedKeystore | AppError;
}

/** The trust material that one connection names, opened. */
export interface TrustMaterial {
  /** By folded name. */
  readonly keystores: ReadonlyMap<string, UsableKeystore>;
  /** PEM by folded name. */
  readonly certificates: ReadonlyMap<string, string>;
  /** Passwords and private keys: nothing may repeat them. */
  readonly secrets: readonly string[];
}

/** Opens what of a connection's keystores and certificates exists; what cannot be opened fails when it is used. */
export async function openTrustMaterial(objects: TrustObjects): Promise<TrustMaterial> {
  const keystores = await Promise.all(
    Object.entries(objects.keystores ?? {}).map(async ([name, stored]) => {
      const opened = await openOnce(stored);
      return [foldName(name), { alias: stored.alias, opened }] as const;
    }),
  );
  const secrets = keystores.flatMap(([, { opened }]) =>
    opened instanceof AppError ? [] : opened.keys.map(({ keyPem }) => keyPem),
  );
  return {
    keystores: new Map(keystores),
    certificates: new Map(
      Object.entries(objects.certificates ?? {}).map(([name, pem]) => [foldName(name), pem]),
    ),
    secrets: [...secrets, ...Object.values(objects.keystores ?? {}).map(({ password }) => password)],
  };
}

const noMaterial: TrustMaterial = { keystores: new Map(), certificates: new Map(), secrets: [] };

/**
 * What `node:tls` takes for a connection: the system's roots, or only what a truststore and a
 * certificate name; a client certificate from a keystore. Like Java, a truststore trusts its
 * certificates and those of its keys, each as an end of the chain.
 */
export function createTrust(material: TrustMaterial = noMaterial): Trust {
  const keystoreOf = (field: string, name: string): UsableKeystore & { opened: OpenedKeystore } => {
    const stored = material.keystores.get(foldName(name));
    if (!stored) throw new AppError('missing_reference', `${field}: there is no keystore '${name}'`);
    const { alias, opened } = stored;
    if (opened instanceof AppError)
      throw invalid(`${field}: keystore '${name}' cannot be opened: ${opened.message}`);
    return { alias, opened };
  };
  return {
    tls({ trustStoreName, certificateName, keyStoreName, verifyCertificate }) {
      const options: ConnectionOptions = { minVersion: 'TLSv1.2' };
      const ca: string[] = [];
      if (trustStoreName) {
        const { keys, trusted } = keystoreOf('trustStoreName', trustStoreName).opened;
        ca.push(...trusted.map(({ pem }) => pem), ...keys.map(({ chainPem }) => chainPem[0]!));
      }
      if (certificateName) ca.push(certificateOf(material, certificateName));
      if (ca.length > 0) Object.assign(options, { ca, allowPartialTrustChain: true });
      if (keyStoreName) {
        const { alias, opened } = keystoreOf('keyStoreName', keyStoreName);
        const { keyPem, chainPem } = keyOf(opened, keyStoreName, alias);
        options.key = keyPem;
        options.cert = chainPem.join('');
      }
      if (verifyCertificate === false) options.rejectUnauthorized = false;
      return options;
    },
  };
}

/** The system's roots, for a connection that names no material of its own. */
export const systemTrust: Trust = createTrust();

function certificateOf({ certificates }: TrustMaterial, name: string): string {
  const pem = certificates.get(foldName(name));
  if (pem === undefined)
    throw new AppError('missing_reference', `certificateName: there is no certificate '${name}'`);
  try {
    openCertificates(pem);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw invalid(`certificateName: certificate '${name}' cannot be used: ${error.message}`);
  }
  return pem;
}

/** The key of an alias (Java's do not tell case apart), or the only one. */
function keyOf(
  { keys }: OpenedKeystore,
  name: string,
  alias: string | undefined,
): OpenedKeystore['keys'][number] {
  const known = keys.map((key) => key.alias).join(', ');
  if (keys.length === 0) throw invalid(`keyStoreName: keystore '${name}' holds no private key`);
  if (alias) {
    const key = keys.find((candidate) => candidate.alias.toLowerCase() === alias.toLowerCase());
    if (key) return key;
    throw invalid(`keyStoreName: keystore '${name}' has no private key '${alias}'; it has ${known}`);
  }
  if (keys.length > 1)
    throw invalid(
      `keyStoreName: keystore '${name}' has several private keys (${known}): give it the alias of one`,
    );
  return keys[0]!;
}

function invalid(message: string): AppError {
  return new AppError('invalid_configuration', message);
}

/**
 * Keystores are slow to open on purpose, and many connections that name the same one are often opened
 * together; so what was opened is kept for a moment.
 */
const recent: { stored: StoredKeystore; opened: Promise<OpenedKeystore | AppError> }[] = [];
const maxRecent = 16;
const recentMs = 30_000;

function openOnce(stored: StoredKeystore): Promise<OpenedKeystore | AppError> {
  const { type, password, file } = stored;
  const same = recent.find(
    (other) => other.stored.type === type && other.stored.password === password && other.stored.file === file,
  );
  if (same) return same.opened;
  const opened = openKeystore({ type, password, file: Buffer.from(file, 'base64') }).catch(
    (error: unknown) => {
      if (error instanceof AppError) return error;
      throw error;
    },
  );
  const entry = { stored, opened };
  recent.push(entry);
  if (recent.length > maxRecent) recent.shift();
  setTimeout(() => {
    const index = recent.indexOf(entry);
    if (index >= 0) recent.splice(index, 1);
  }, recentMs).unref();
  return opened;
}
