import type { ConnectionOptions } from 'node:tls';
import type { Trust } from '../connectors/connector.ts';
import { AppError } from '../errors.ts';

const stored = [
  ['trustStoreName', 'keystore'],
  ['keyStoreName', 'keystore'],
  ['certificateName', 'certificate'],
] as const;

/**
 * Trust by the system's roots. This version stores no keystores and certificates, so that a name of
 * one is refused with `missing_reference` instead of trusting something else in silence.
 */
export function createTrust(): Trust {
  return {
    tls(config) {
      for (const [field, kind] of stored) {
        const name = config[field];
        if (name) throw new AppError('missing_reference', `${field}: there is no ${kind} '${name}'`);
      }
      const options: ConnectionOptions = { minVersion: 'TLSv1.2' };
      if (config.verifyCertificate === false) options.rejectUnauthorized = false;
      return options;
    },
  };
}
