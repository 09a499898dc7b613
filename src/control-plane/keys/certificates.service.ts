import { randomUUID } from 'node:crypto';
import { AppError, type FieldFault } from '../../errors.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { ReferrerCaller, Referrers } from '../connections/referrers.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import type { NamedChange, NamedObjects } from '../server/named-object.routes.ts';
import type { ProjectRow } from '../server/route-access.ts';
import { type Database, isUniqueViolation, type Queries, type Transaction } from '../store/database.ts';
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
  referrers: Referrers;
}): NamedObjects<CertificateInput, StoredCertificateView> {
  const { db, referrers } = parts;

  async function load(
    queries: Pick<Queries, 'get'>,
    project: ProjectRow,
    name: string,
  ): Promise<CertificateRow> {
    const row = await queries.get<CertificateRow>(
      'select * from certificates where project_id = $1 and name = $2',
      [project.id, name],
    );
    if (!row) throw new AppError('not_found', `Certificate (name: ${name}) was not found!`);
    return row;
  }

  /** Until the transaction ends it stays as it is, and no connection comes to it. */
  async function hold(tx: Transaction, project: ProjectRow, name: string): Promise<void> {
    await tx.run('update certificates set version = version where project_id = $1 and name = $2', [
      project.id,
      name,
    ]);
  }

  const viewOf = (row: CertificateRow): StoredCertificateView => ({
    name: row.name,
    description: row.description,
    alias: row.alias,
    environmentList: JSON.parse(row.environments) as string[],
    pemEncodedFile: row.pem,
    certificates: JSON.parse(row.contents) as CertificateView[],
    expiresAt: row.expires_at === null ? null : new Date(row.expires_at).toISOString(),
  });

  const tagged = (row: CertificateRow) => ({ ...viewOf(row), version: row.version });

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
        !referrers.allowedInAll(
          principal,
          'KEYS:MANAGE',
          project,
          undefined,
          list.length === 0 ? project.environments : list,
        )
      )
        throw new AppError(
          'forbidden',
          `The token lacks the permission KEYS:MANAGE for ${list.length === 0 ? 'all environments' : `the environments ${list.join(', ')}`}`,
        );
  }

  async function audit(
    tx: Transaction,
    caller: ReferrerCaller,
    project: ProjectRow,
    action: string,
    target: string,
    details: Record<string, unknown>,
  ): Promise<void> {
    await recordAudit(tx, {
      actor: caller.actor,
      requestId: caller.requestId,
      project: project.name,
      action: `certificate.${action}`,
      target,
      details,
    });
  }

  function nameTaken(error: unknown, name: string): unknown {
    if (!isUniqueViolation(error, 'certificates_name')) return error;
    return new AppError('bad_request', `Certificate (name: ${name}) already exists!`, {
      details: { validationErrors: [{ field: 'name', message: 'already exists in this project' }] },
    });
  }

  return {
    async list(_principal, project) {
      const rows = await db.all<CertificateRow>(
        'select * from certificates where project_id = $1 order by name',
        [project.id],
      );
      return rows.map(viewOf);
    },

    async get(_principal, project, name) {
      const row = await load(db, project, name);
      return { view: viewOf(row), tag: contentTag(tagged(row)) };
    },

    async create(caller, project, input) {
      const { pem, certificates, environments, warnings } = await check(project, input);
      demandEnvironments(caller, project, environments);
      try {
        const redeployment = await db.write(async (tx) => {
          const target = { kind: 'certificate', name: input.name } as const;
          const rows = await referrers.find(tx, project.id, target);
          await referrers.demandMove(tx, caller, project, rows, target);
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
          await audit(tx, caller, project, 'create', input.name, {
            environments,
            fingerprints: certificates.map(({ fingerprint256 }) => fingerprint256),
            connections: rows.map(({ name }) => name),
          });
          return referrers.redeploy(tx, project, rows);
        });
        return { warnings, redeployment };
      } catch (error) {
        throw nameTaken(error, input.name);
      }
    },

    async update(caller, project, name, input, precondition: Precondition): Promise<NamedChange> {
      const checked = await check(project, input, await load(db, project, name));
      const { certificates, environments, warnings } = checked;
      try {
        const redeployment = await db.write(async (tx) => {
          await hold(tx, project, name);
          const stored = await load(tx, project, name);
          precondition(tagged(stored));
          const pem = input.pemEncodedFile ?? stored.pem;
          const isKept = input.pemEncodedFile === null || input.pemEncodedFile === undefined;
          const before = JSON.parse(stored.environments) as string[];
          const isChanged = pem !== stored.pem || JSON.stringify(environments) !== JSON.stringify(before);
          if (isChanged) demandEnvironments(caller, project, before, environments);
          const target = { kind: 'certificate', name } as const;
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
          let rows = isChanged ? await referrers.find(tx, project.id, target) : [];
          await referrers.demandMove(tx, caller, project, rows, target);
          if (input.name !== name) {
            const renamed = await referrers.rename(tx, caller, project, target, input.name);
            rows = [...renamed, ...rows.filter(({ id }) => !renamed.some((one) => one.id === id))];
          }
          await audit(tx, caller, project, 'update', input.name, {
            environments,
            ...(isKept ? {} : { fingerprints: certificates.map(({ fingerprint256 }) => fingerprint256) }),
            connections: rows.map((row) => row.name),
            ...(input.name === name ? {} : { renamedFrom: name }),
          });
          return referrers.redeploy(tx, project, rows);
        });
        return { warnings, redeployment };
      } catch (error) {
        throw nameTaken(error, input.name);
      }
    },

    async remove(caller, project, name, precondition) {
      await db.write(async (tx) => {
        await hold(tx, project, name);
        const stored = await load(tx, project, name);
        precondition(tagged(stored));
        demandEnvironments(caller, project, JSON.parse(stored.environments) as string[]);
        await referrers.demandNone(tx, project.id, { kind: 'certificate', name });
        await tx.run('delete from certificates where id = $1', [stored.id]);
        await audit(tx, caller, project, 'delete', name, {});
      });
    },
  };
}
