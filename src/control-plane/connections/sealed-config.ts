import type { ConnectionType } from '../../contract/connection-type.ts';
import { joinSecrets, splitSecrets } from '../../contract/masking.ts';
import { completeConfig } from '../../contract/validation.ts';
import type { Sealer } from '../store/sealing.ts';
import type { ConnectionRow } from './connections.store.ts';

type Config = Record<string, unknown>;

/** The body of a row with its secrets. */
export function openConfig(
  sealer: Sealer,
  row: Pick<ConnectionRow, 'id' | 'project_id' | 'masked' | 'sealed'>,
): Config {
  const masked = JSON.parse(row.masked) as Config;
  if (row.sealed === '{}') return masked;
  const secrets: Record<string, string> = {};
  for (const [field, ciphertext] of Object.entries(JSON.parse(row.sealed) as Record<string, string>))
    secrets[field] = sealer.open(ciphertext, { project: row.project_id, connection: row.id, field });
  return joinSecrets(masked, secrets) as Config;
}

/** The columns of a body: secrets apart, each sealed to its place; and the body that they open to. */
export function sealConfig(
  sealer: Sealer,
  definition: ConnectionType,
  config: Config,
  projectId: string,
  id: string,
): { columns: Pick<ConnectionRow, 'masked' | 'sealed'>; opened: Config } {
  const opened = completeConfig(definition, config);
  const { masked, secrets } = splitSecrets(definition, opened);
  const sealed: Record<string, string> = {};
  for (const [field, plain] of Object.entries(secrets))
    sealed[field] = sealer.seal(plain, { project: projectId, connection: id, field });
  return { columns: { masked: JSON.stringify(masked), sealed: JSON.stringify(sealed) }, opened };
}
