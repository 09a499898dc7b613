import type { ConnectionOptions } from 'node:tls';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { type OpenedKeystore, openCertificates, openKeystore } from '../../trust-material/keystore.ts';
import type { Trust } from '../connector.ts';
import type { elasticsearch } from './elasticsearch.definition.ts';

export type ElasticConfig = ConfigOf<typeof elasticsearch>;

/**
 * TLS of the https hosts: the system's roots, or what the files of the configuration say. Fails with
 * `invalid_configuration`, naming the file that cannot be used.
 */
export async function elasticTls(
  config: ElasticConfig,
  trust: Trust,
  warn: (text: string) => void,
): Promise<ConnectionOptions> {
  const options: ConnectionOptions = {
    ...trust.tls({ verifyCertificate: config.verifyCertificate }),
    // The chain is verified all the same.
    ...(config.disableHostnameVerification ? { checkServerIdentity: () => undefined } : {}),
  };
  if (!config.encryptCommunication) return options;
  const truststorePass = config.caTruststoreFilePass ?? '';
  switch (config.encryptCommunicationType) {
    case 'CA_IN_PEM_FILE':
      return { ...options, ...trusting([authorities(config.caInPemFile ?? '')]) };
    case 'CA_CERTIFICATE_IN_PKCS_12': {
      const store = await openFile('caCertInPkcs12File', config.caCertInPkcs12File, truststorePass);
      return { ...options, ...trusting(certificatesOf(store)) };
    }
    case 'CERT_AND_PRIVATE_KEY_IN_PKCS_12': {
      const store = await openFile('caKeystoreFile', config.caKeystoreFile, config.caKeystoreFilePass ?? '');
      const [own, ...others] = store.keys;
      if (!own) throw invalid('caKeystoreFile: holds no private key');
      if (others.length > 0) warn(`caKeystoreFile: holds several keys; '${own.alias}' is used`);
      const trusted = config.caTruststoreFile
        ? trusting(
            certificatesOf(await openFile('caTruststoreFile', config.caTruststoreFile, truststorePass)),
          )
        : {};
      return { ...options, ...trusted, key: own.keyPem, cert: own.chainPem.join('') };
    }
    default:
      throw invalid('encryptCommunicationType: says not which of the files are used');
  }
}

function trusting(ca: string[]): ConnectionOptions {
  return { ca, allowPartialTrustChain: true };
}

/** As Java does, a truststore trusts its certificates and those of its keys. */
function certificatesOf({ keys, trusted }: OpenedKeystore): string[] {
  return [...trusted.map(({ pem }) => pem), ...keys.map(({ chainPem }) => chainPem[0]!)];
}

function authorities(base64: string): string {
  const pem = decode('caInPemFile', base64).toString();
  try {
    openCertificates(pem);
  } catch (error) {
    throw invalid(`caInPemFile: ${(error as Error).message}`);
  }
  return pem;
}

async function openFile(
  field: string,
  base64: string | null | undefined,
  password: string,
): Promise<OpenedKeystore> {
  try {
    return await openKeystore({ type: 'PKCS12', file: decode(field, base64 ?? ''), password });
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid_configuration') throw error;
    throw invalid(`${field}: ${(error as Error).message}`);
  }
}

function decode(field: string, base64: string): Buffer {
  const text = base64.replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw invalid(`${field}: is not in base64`);
  return Buffer.from(text, 'base64');
}

function invalid(message: string): AppError {
  return new AppError('invalid_configuration', message);
}
