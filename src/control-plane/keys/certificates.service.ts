import { randomUUID } from 'node:crypto';
import { AppError, type FieldFault } from '../../errors.ts';
import type { Access } from '../auth/access.ts';
import type { ReferrerCaller, Referrers } from '../connections/referrers.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import type { NamedChange, NamedObjects } from '../server/named-object.routes.ts';
import { createNamedWrites } from '../server/named-object-writes.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database } from '../store/database.ts';
import type { Tables } from '../store/tables.ts';
import {
  type CertificateView,
  certificateWarnings,
  soonestEnd,
  viewOfCertificate,
} from './certificate-view.ts';

type CertificateRow = Tables['certificates'];

export interface CertificateInput {
  description?: string | null;
  alias?: string | null;
  /** Empty: all environments. */
  environmentList?: string[] | null;
  /** null keeps the stored one. */
  pemEncodedFile?: string | null;
}

export interface StoredCertificateView {
  name: string;
  description: string | null;
  alias: string | null;
  environmentList: string[];
  pemEncodedFile: string;
  certificates: CertificateView[];
  expiresAt: string | null;
}

/** Certificates of projects, as PEM; one may be a chain. */
export function createCertificates(parts: {
  db: Database;
  access: Access;
  referrers: Referrers;
}): NamedObjects<CertificateInput, StoredCertificateView> {
  const { db, access } = parts;
  const writes = createNamedWrites('certificate', parts);

  const viewOf = (row: CertificateRow): StoredCertificateView => ({
    name: row.name,
    description: row.description,
    alias: row.alias,
    environmentList: JSON.parse(row.environments) as string[],
    pemEncodedFile: row.pem,
    certificates: JSON.parse(row.contents) as CertificateView[],
    expiresAt: row.expires_at === null ? null : new Date(row.expires_at).toISOString(),
  });

  const tagOf = (row: CertificateRow) => contentTag({ ...viewOf(row), version: row.version });

  async function check(
    project: ProjectRow,
    input: CertificateInput,
    stored?: CertificateRow,
  ): Promise<{ pem: string; certificates: CertificateView[]; environments: string[]; warnings: string[] }> {
    const faults: FieldFault[] = [];
    const known = stored ? (JSON.parse(stored.environments) as string[]) : [];
    const environments = [...new Set(input.environmentList ?? [])].sort();
    for (const environment of environments)
      if (!project.environments.includes(environment) && !known.includes(environment))
        faults.push({
          field: 'environmentList',
          message: `'${environment}' is no environment of the project: ${project.environments.join(', ')}`,
        });
    const pem = input.pemEncodedFile ?? stored?.pem;
    let certificates: CertificateView[] = [];
    if (!pem) faults.push({ field: 'pemEncodedFile', message: 'is required' });
    else
      try {
        const { openCertificates } = await import('../../trust-material/keystore.ts');
        certificates = openCertificates(pem).map(viewOfCertificate);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'bad_request') throw error;
        faults.push({ field: 'pemEncodedFile', message: error.message });
      }
    if (faults.length > 0 || !pem)
      throw new AppError(
        'bad_request',
        faults.map(({ field, message }) => `${field}: ${message}`).join('; '),
        {
          details: { validationErrors: faults },
        },
      );
    const warnings = certificates.flatMap((one) => certificateWarnings(one.subject, one));
    return { pem, certificates, environments, warnings };
  }

  function demandEnvironments(
    { principal }: ReferrerCaller,
    project: ProjectRow,
    ...lists: readonly string[][]
  ): void {
    for (const list of lists)
      if (
        !access.allowsInAll(
          principal,
          'KEYS:MANAGE',
          { project: project.name },
          list.length === 0 ? project.environments : list,
        )
      )
        throw new AppError(
          'forbidden',
          `The token lacks the permission KEYS:MANAGE for ${list.length === 0 ? 'all environments' : `the environments ${list.join(', ')}`}`,
        );
  }

  return {
    async list(_principal, project) {
      return (await writes.rows(project)).map(viewOf);
    },

    async get(_principal, project, name) {
      const row = await writes.find(db, project, name);
      return { view: viewOf(row), tag: tagOf(row) };
    },

    async create(caller, project, input) {
      const { pem, certificates, environments, warnings } = await check(project, input);
      demandEnvironments(caller, project, environments);
      const details = { environments, fingerprints: fingerprintsOf(certificates) };
      const redeployment = await writes.create(caller, project, input.name, details, async (tx) => {
        await tx.run(
          `insert into certificates (id, project_id, name, description, alias, environments, pem, contents, expires_at, version, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $10)`,
          [
            randomUUID(),
            project.id,
            input.name,
            input.description ?? null,
            input.alias ?? null,
            JSON.stringify(environments),
            pem,
            JSON.stringify(certificates),
            soonestEnd(certificates),
            Date.now(),
          ],
        );
      });
      return { warnings, redeployment };
    },

    async update(caller, project, name, input, precondition: Precondition): Promise<NamedChange> {
      const checked = await check(project, input, await writes.find(db, project, name));
      const { certificates, environments, warnings } = checked;
      const redeployment = await writes.update(caller, project, { name, newName: input.name }, async (tx) => {
        await writes.hold(tx, project, name);
        const stored = await writes.find(tx, project, name);
        const pem = input.pemEncodedFile ?? stored.pem;
        const isKept = input.pemEncodedFile === null || input.pemEncodedFile === undefined;
        const before = JSON.parse(stored.environments) as string[];
        const isMoved = pem !== stored.pem || JSON.stringify(environments) !== JSON.stringify(before);
        if (isMoved) demandEnvironments(caller, project, before, environments);
        precondition(tagOf(stored));
        await tx.run(
          `update certificates set name = $1, description = $2, alias = $3, environments = $4, pem = $5, contents = $6,
            expires_at = $7, version = version + 1, updated_at = $8 where id = $9`,
          [
            input.name,
            input.description ?? null,
            input.alias ?? null,
            JSON.stringify(environments),
            pem,
            isKept ? stored.contents : JSON.stringify(certificates),
            isKept ? stored.expires_at : soonestEnd(certificates),
            Date.now(),
            stored.id,
          ],
        );
        const fingerprints = isKept ? {} : { fingerprints: fingerprintsOf(certificates) };
        return { isMoved, details: { environments, ...fingerprints } };
      });
      return { warnings, redeployment };
    },

    remove(caller, project, name, precondition) {
      return writes.remove(caller, project, name, async (tx) => {
        const stored = await writes.find(tx, project, name);
        demandEnvironments(caller, project, JSON.parse(stored.environments) as string[]);
        precondition(tagOf(stored));
      });
    },
  };
}

const fingerprintsOf = (certificates: readonly CertificateView[]) =>
  certificates.map(({ fingerprint256 }) => fingerprint256);
