import { randomUUID } from 'node:crypto';
import { AppError, type FieldFault } from '../../errors.ts';
import type { OpenedKeystore } from '../../trust-material/keystore.ts';
import type { Access } from '../auth/access.ts';
import type { Permission, Principal } from '../auth/permissions.ts';
import type { Referrers } from '../connections/referrers.ts';
import { contentTag, type Precondition } from '../server/entity-tag.ts';
import type { NamedChange, NamedObjects } from '../server/named-object.routes.ts';
import { createNamedWrites } from '../server/named-object-writes.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Queries, Transaction } from '../store/database.ts';
import type { Sealer } from '../store/sealing.ts';
import type { Tables } from '../store/tables.ts';
import {
  type CertificateView,
  certificateWarnings,
  soonestEnd,
  viewOfCertificate,
} from './certificate-view.ts';
import { placeOfKeystore } from './stored-objects.ts';

type KeystoreRow = Tables['keystores'];
type FileRow = Tables['keystore_files'];
type KeystoreType = 'JKS' | 'PKCS12' | 'PEM';

export interface KeystoreInput {
  description?: string | null;
  keyStoreEnvironmentList?:
    | {
        environmentName: string;
        type?: KeystoreType | null;
        /** Older name of `type`. */
        keyStoreType?: KeystoreType | null;
        /** base64; null keeps the stored one. */
        file?: string | null;
        /** null keeps the stored one, for the same file. */
        password?: string | null;
        alias?: string | null;
      }[]
    | null;
}

/** One entry of a keystore. */
export interface EntryView extends CertificateView {
  alias: string;
  kind: 'key' | 'certificate';
}

export interface KeystoreView {
  name: string;
  description: string | null;
  keyStoreEnvironmentList: {
    environmentName: string;
    type: KeystoreType;
    alias: string | null;
    file: null;
    password: null;
    entries: EntryView[];
    expiresAt: string | null;
  }[];
}

interface Stored {
  row: KeystoreRow;
  files: Map<string, FileRow>;
}

/** A keystore's file that was opened, and is to be stored. */
interface CheckedFile {
  type: KeystoreType;
  file: string;
  password: string;
  alias: string | null;
  entries: EntryView[];
}

const attempts = 8;
const maxFileBytes = 1024 * 1024;

/** Keystores of projects, with a file and password for each environment; opened when they are stored. */
export function createKeystores(parts: {
  db: Database;
  sealer: Sealer;
  access: Access;
  referrers: Referrers;
}): NamedObjects<KeystoreInput, KeystoreView> {
  const { db, sealer, access } = parts;
  const writes = createNamedWrites('keystore', parts);

  async function load(
    queries: Pick<Queries, 'all' | 'get'>,
    project: ProjectRow,
    name: string,
  ): Promise<Stored> {
    const row = await writes.find(queries, project, name);
    const files = await queries.all<FileRow>('select * from keystore_files where keystore_id = $1', [row.id]);
    return { row, files: new Map(files.map((file) => [file.environment, file])) };
  }

  function viewOf({ row, files }: Stored): KeystoreView {
    return {
      name: row.name,
      description: row.description,
      keyStoreEnvironmentList: [...files.values()]
        .sort((a, b) => (a.environment < b.environment ? -1 : 1))
        .map((file) => ({
          environmentName: file.environment,
          type: file.type as KeystoreType,
          alias: file.alias,
          file: null,
          password: null,
          entries: JSON.parse(file.contents) as EntryView[],
          expiresAt: file.expires_at === null ? null : new Date(file.expires_at).toISOString(),
        })),
    };
  }

  const tagOf = (stored: Stored) => contentTag({ ...viewOf(stored), version: stored.row.version });

  const openFile = (projectId: string, row: FileRow): Omit<CheckedFile, 'entries'> => ({
    type: row.type as KeystoreType,
    file: sealer.open(row.sealed_file, placeOfKeystore(projectId, row.keystore_id, row.environment, 'file')),
    password: sealer.open(
      row.sealed_password,
      placeOfKeystore(projectId, row.keystore_id, row.environment, 'password'),
    ),
    alias: row.alias,
  });

  /** Opens every file of a body; throws bad_request naming each that cannot be. */
  async function check(
    project: ProjectRow,
    input: KeystoreInput,
    stored: ReadonlyMap<string, FileRow>,
  ): Promise<{ files: Map<string, CheckedFile>; warnings: string[] }> {
    const faults: FieldFault[] = [];
    const warnings: string[] = [];
    const files = new Map<string, CheckedFile>();
    const list = input.keyStoreEnvironmentList ?? [];
    if (list.length === 0)
      faults.push({ field: 'keyStoreEnvironmentList', message: 'needs one environment' });
    for (const [index, entry] of list.entries()) {
      const at = `keyStoreEnvironmentList[${index}]`;
      const { environmentName: environment } = entry;
      const fault = (field: string, message: string) => faults.push({ field: `${at}.${field}`, message });
      if (!project.environments.includes(environment) && !stored.has(environment)) {
        fault('environmentName', `must be an environment of the project: ${project.environments.join(', ')}`);
        continue;
      }
      if (files.has(environment)) {
        fault('environmentName', 'is there twice');
        continue;
      }
      const row = stored.get(environment);
      const before = row && openFile(project.id, row);
      const type = entry.type ?? entry.keyStoreType ?? before?.type;
      const file = entry.file?.replaceAll(/\s+/g, '') ?? before?.file;
      if (!type) fault('type', 'is required: JKS, PKCS12 or PEM');
      if (entry.type && entry.keyStoreType && entry.type !== entry.keyStoreType)
        fault('keyStoreType', 'is another name of type, which has another value');
      if (!file) fault('file', 'is required');
      const password = entry.password ?? (file === before?.file ? before?.password : undefined);
      if (file && password === undefined)
        fault('password', 'is required; it is kept for the same file alone');
      if (!type || !file || password === undefined) continue;
      const bytes = Buffer.from(file, 'base64');
      if (bytes.toString('base64').replace(/=+$/, '') !== file.replace(/=+$/, '')) {
        fault('file', 'must be base64');
        continue;
      }
      if (bytes.length > maxFileBytes) {
        fault('file', 'must be at most 1 MiB');
        continue;
      }
      let entries: EntryView[];
      try {
        entries = entriesOf(await open(type, bytes, password));
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'bad_request') throw error;
        fault(/password/i.test(error.message) ? 'password' : 'file', error.message);
        continue;
      }
      const alias = entry.alias ?? null;
      if (alias !== null && !entries.some((one) => one.alias === alias)) {
        fault('alias', `must be one of the file's: ${entries.map((one) => one.alias).join(', ')}`);
        continue;
      }
      if (!entries.some(({ kind }) => kind === 'key'))
        warnings.push(`${environment}: no private key: it serves as a truststore only`);
      for (const one of entries)
        warnings.push(...certificateWarnings(`${environment}: ${one.alias} (${one.subject})`, one));
      files.set(environment, { type, file, password, alias, entries });
    }
    if (faults.length > 0)
      throw new AppError(
        'bad_request',
        faults.map(({ field, message }) => `${field}: ${message}`).join('; '),
        {
          details: { validationErrors: faults },
        },
      );
    return { files, warnings };
  }

  function changedIn(
    projectId: string,
    before: ReadonlyMap<string, FileRow>,
    after: ReadonlyMap<string, CheckedFile>,
  ): string[] {
    return [...new Set([...before.keys(), ...after.keys()])].filter((environment) => {
      const row = before.get(environment);
      const next = after.get(environment);
      if (!row || !next) return true;
      const old = openFile(projectId, row);
      return (['type', 'file', 'password', 'alias'] as const).some((part) => old[part] !== next[part]);
    });
  }

  async function writeFiles(
    tx: Transaction,
    projectId: string,
    id: string,
    before: Iterable<string>,
    after: ReadonlyMap<string, CheckedFile>,
  ): Promise<void> {
    for (const environment of before)
      if (!after.has(environment))
        await tx.run('delete from keystore_files where keystore_id = $1 and environment = $2', [
          id,
          environment,
        ]);
    for (const [environment, { type, file, password, alias, entries }] of after)
      await tx.run(
        `insert into keystore_files (keystore_id, environment, type, alias, sealed_file, sealed_password, contents, expires_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8)
          on conflict (keystore_id, environment) do update set type = $3, alias = $4, sealed_file = $5,
            sealed_password = $6, contents = $7, expires_at = $8`,
        [
          id,
          environment,
          type,
          alias,
          sealer.seal(file, placeOfKeystore(projectId, id, environment, 'file')),
          sealer.seal(password, placeOfKeystore(projectId, id, environment, 'password')),
          JSON.stringify(entries),
          soonestEnd(entries),
        ],
      );
  }

  function demandEnvironments(
    { principal }: { principal: Principal },
    project: ProjectRow,
    environments: readonly string[],
    permission: Permission = 'KEYS:MANAGE',
  ): void {
    for (const environment of environments)
      if (!access.allows(principal, permission, { project: project.name, environment }))
        throw new AppError(
          'forbidden',
          `The token lacks the permission ${permission} for environment '${environment}'`,
        );
  }

  return {
    async list(_principal, project) {
      const rows = await writes.rows(project);
      const files = await db.all<FileRow>(
        'select f.* from keystore_files f join keystores k on k.id = f.keystore_id where k.project_id = $1',
        [project.id],
      );
      const byId = new Map(rows.map((row) => [row.id, { row, files: new Map<string, FileRow>() }]));
      for (const file of files) byId.get(file.keystore_id)?.files.set(file.environment, file);
      return [...byId.values()].map(viewOf);
    },

    async get(_principal, project, name) {
      const stored = await load(db, project, name);
      return { view: viewOf(stored), tag: tagOf(stored) };
    },

    async create(caller, project, input) {
      const { files, warnings } = await check(project, input, new Map());
      demandEnvironments(caller, project, [...files.keys()]);
      const id = randomUUID();
      const details = { environments: [...files.keys()] };
      const redeployment = await writes.create(caller, project, input.name, details, async (tx) => {
        await tx.run(
          'insert into keystores (id, project_id, name, description, version, created_at, updated_at) values ($1, $2, $3, $4, 1, $5, $5)',
          [id, project.id, input.name, input.description ?? null, Date.now()],
        );
        await writeFiles(tx, project.id, id, [], files);
      });
      return { warnings, redeployment };
    },

    async update(caller, project, name, input, precondition: Precondition): Promise<NamedChange> {
      for (let attempt = 0; attempt < attempts; attempt++) {
        const stored = await load(db, project, name);
        const { files, warnings } = await check(project, input, stored.files);
        const changed = changedIn(project.id, stored.files, files);
        demandEnvironments(caller, project, changed);
        precondition(tagOf(stored));
        const redeployment = await writes.update(
          caller,
          project,
          { name, newName: input.name },
          async (tx) => {
            const written = await tx.run(
              'update keystores set name = $1, description = $2, version = version + 1, updated_at = $3 where id = $4 and version = $5',
              [input.name, input.description ?? null, Date.now(), stored.row.id, stored.row.version],
            );
            if (written === 0) return undefined;
            if (changed.length > 0)
              await writeFiles(tx, project.id, stored.row.id, stored.files.keys(), files);
            return { isMoved: changed.length > 0, details: { environments: changed } };
          },
        );
        if (redeployment) return { warnings, redeployment };
      }
      throw new AppError('unavailable', 'The keystore is being changed by others all the time; try again');
    },

    remove(caller, project, name, precondition) {
      return writes.remove(caller, project, name, async (tx) => {
        const stored = await load(tx, project, name);
        demandEnvironments(caller, project, [...stored.files.keys()]);
        precondition(tagOf(stored));
      });
    },
  };
}

/** The parser is loaded when it is needed. */
async function open(type: KeystoreType, file: Buffer, password: string): Promise<OpenedKeystore> {
  const { openKeystore } = await import('../../trust-material/keystore.ts');
  return openKeystore({ type, file, password });
}

function entriesOf({ keys, trusted }: OpenedKeystore): EntryView[] {
  return [
    ...keys.flatMap(({ alias, certificates: [own] }) =>
      own ? [{ alias, kind: 'key' as const, ...viewOfCertificate(own) }] : [],
    ),
    ...trusted.map(({ alias, certificate }) => ({
      alias,
      kind: 'certificate' as const,
      ...viewOfCertificate(certificate),
    })),
  ];
}
