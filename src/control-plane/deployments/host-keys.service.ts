import { type ConnectionTypeId, definitions } from '../../connectors/definitions.ts';
import type { ConnectionType } from '../../contract/connection-type.ts';
import { FINGERPRINT_PATTERN } from '../../contract/ssh-fields.ts';
import type { HostKey, HostKeySighting } from '../../contract/worker-protocol.ts';
import { recordAudit } from '../audit/audit.service.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database, Transaction } from '../store/database.ts';
import type { Resolver } from '../variables/resolver.ts';
import type { ConnectedWorker } from './connected-workers.ts';
import {
  acceptHostKey,
  deleteHostKeys,
  type HostKeyRow,
  holdConnection,
  hostKeysOf,
  noteRefusedHostKey,
  pinHostKey,
  pinnedHostKeys,
  stampConnection,
} from './host-keys.store.ts';
import { targetsOf } from './targets.ts';

interface Parts {
  db: Database;
  projectOf: (projectId: string) => Pick<ProjectRow, 'name' | 'environments'> | undefined;
  environmentId: (name: string) => string | undefined;
  /** Tells the workers, and whoever watches. */
  announcePin: (pin: HostKeyPin) => void;
}

/** A key that an environment trusts from now on, since it was the first that was seen. */
export interface HostKeyPin {
  worker: ConnectedWorker;
  project: string;
  /** Name of the connection. */
  connection: string;
  key: HostKey;
}

type Connection = { id: string; project_id: string; type: string; masked: string };

/** The pinned key of one environment, as status shows it. */
export interface HostKeyStatus extends HostKey {
  pinnedAt: string;
  /** The worker that saw it first, or who accepted it. */
  pinnedBy: string;
  /** The last other key that was refused since. */
  refused?: { algorithm: string; fingerprint: string; at: string };
}

const fingerprint = new RegExp(FINGERPRINT_PATTERN);

/**
 * The SSH host keys that each environment trusts for a connection (trust on first use). A key is
 * pinned for the server that showed it, so that it never vouches for another one.
 */
export class HostKeys {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Whether connections of a type may have host keys; all else is asked of such types alone. */
  concern(type: string): boolean {
    return definitionOf(type)?.hostKeyServer !== undefined;
  }

  /** What the workers of an environment have to trust; empty before the first use. */
  async pinned(connectionId: string, environment: string): Promise<HostKey[]> {
    const environmentId = this.#parts.environmentId(environment);
    return environmentId === undefined ? [] : pinnedHostKeys(this.#parts.db, { connectionId, environmentId });
  }

  /** The `host:port` whose key is pinned; undefined where none is, or it cannot be resolved. */
  async serverIn(
    { project_id, type, masked }: Connection,
    environment: string,
    resolver: Resolver,
  ): Promise<string | undefined> {
    const resolved = await resolver.values(project_id, type, JSON.parse(masked), environment);
    return 'refusal' in resolved ? undefined : definitionOf(type)?.hostKeyServer?.(resolved.config as never);
  }

  /** The key that holds in each of the environments which have one. */
  async status(
    connection: Connection,
    environments: readonly string[],
    resolver: Resolver,
  ): Promise<Map<string, HostKeyStatus>> {
    const status = new Map<string, HostKeyStatus>();
    const rows = await hostKeysOf(this.#parts.db, connection.id);
    if (rows.length === 0) return status;
    for (const environment of environments) {
      const server = await this.serverIn(connection, environment, resolver);
      const environmentId = this.#parts.environmentId(environment);
      const row = rows.find((one) => one.environment_id === environmentId && one.server === server);
      if (row) status.set(environment, statusOf(row));
    }
    return status;
  }

  /** Pins what a worker saw first; of two at a time the first commit wins, and the other is known as refused. */
  async record(worker: ConnectedWorker, sightings: readonly HostKeySighting[]): Promise<void> {
    const { db, announcePin } = this.#parts;
    for (const sighting of sightings) {
      if (!isSighting(sighting)) continue;
      const pin = await db.write((tx) => this.#recordOne(tx, worker, sighting));
      if (pin) announcePin(pin);
    }
  }

  async #recordOne(
    tx: Transaction,
    worker: ConnectedWorker,
    sighting: HostKeySighting,
  ): Promise<HostKeyPin | undefined> {
    const { id: environmentId, name: environment } = worker.environment;
    const row = await holdConnection(tx, sighting.connection);
    const project = row && this.#parts.projectOf(row.project_id);
    if (!row || !project || !this.concern(row.type)) return undefined;
    if (!targetsOf(project, JSON.parse(row.environments)).includes(environment)) return undefined;
    const { server, algorithm } = sighting;
    const key = { server, algorithm, fingerprint: sighting.fingerprint.replace(/=$/, '') };
    const place = { connectionId: row.id, environmentId };
    const now = Date.now();
    if (!(await pinHostKey(tx, place, key, `worker:${worker.name}`, now))) {
      await noteRefusedHostKey(tx, place, key, now);
      return undefined;
    }
    await recordAudit(tx, {
      actor: `worker:${worker.name}`,
      project: project.name,
      action: 'connection.pin-host-key',
      target: row.name,
      details: { connection: row.id, environment, ...key },
    });
    await stampConnection(tx, row.id);
    return { worker, project: project.name, connection: row.name, key };
  }

  /**
   * Trusts the key that was refused in place of the pinned one; answers the fingerprint that was trusted
   * before, which is the same where that key is pinned already, or why it cannot be.
   */
  async accept(
    tx: Transaction,
    connectionId: string,
    environment: string,
    { server, fingerprint }: Pick<HostKey, 'server' | 'fingerprint'>,
    by: string,
  ): Promise<{ before: string } | { refusal: string }> {
    const environmentId = this.#parts.environmentId(environment);
    await holdConnection(tx, connectionId);
    const rows = await hostKeysOf(tx, connectionId);
    const known = rows.find((row) => row.environment_id === environmentId && row.server === server);
    if (known?.fingerprint === fingerprint) return { before: fingerprint };
    if (known?.refused_fingerprint !== fingerprint) {
      const last = known?.refused_fingerprint;
      return {
        refusal: `is of no host key that ${server} was refused for in environment '${environment}'; ${last ? `the last one that was refused is ${last}` : 'none was refused'}`,
      };
    }
    const { connection_id, environment_id } = known;
    const place = { connectionId: connection_id, environmentId: environment_id };
    await acceptHostKey(tx, place, server, fingerprint, by, Date.now());
    return { before: known.fingerprint };
  }

  /** The next key that a server shows is a first use again, in every environment. */
  async forget(tx: Transaction, connection: { id: string; type: string }): Promise<void> {
    if (this.concern(connection.type)) await deleteHostKeys(tx, connection.id);
  }

  /** Forgets the keys of a connection that leads elsewhere than before, by what is stored of it. */
  async forgetMoved(
    tx: Transaction,
    before: Pick<Connection, 'masked'>,
    after: Pick<Connection, 'id' | 'type' | 'masked'>,
  ): Promise<void> {
    const serverOf = definitionOf(after.type)?.hostKeyServer;
    if (serverOf && serverOf(JSON.parse(before.masked)) !== serverOf(JSON.parse(after.masked)))
      await deleteHostKeys(tx, after.id);
  }
}

function definitionOf(type: string): ConnectionType | undefined {
  return Object.hasOwn(definitions, type)
    ? (definitions[type as ConnectionTypeId] as ConnectionType)
    : undefined;
}

function isSighting(value: unknown): value is HostKeySighting {
  const { connection, server, algorithm, fingerprint: print } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof connection === 'string' &&
    typeof server === 'string' &&
    /^[^\s\p{Cc}]{1,300}$/u.test(server) &&
    typeof algorithm === 'string' &&
    /^[\x21-\x7e]{1,64}$/.test(algorithm) &&
    typeof print === 'string' &&
    fingerprint.test(print)
  );
}

function statusOf(row: HostKeyRow): HostKeyStatus {
  const { server, algorithm, fingerprint, refused_algorithm, refused_fingerprint, refused_at } = row;
  return {
    server,
    algorithm,
    fingerprint,
    pinnedAt: new Date(row.pinned_at).toISOString(),
    pinnedBy: row.pinned_by,
    ...(refused_algorithm !== null && refused_fingerprint !== null && refused_at !== null
      ? {
          refused: {
            algorithm: refused_algorithm,
            fingerprint: refused_fingerprint,
            at: new Date(refused_at).toISOString(),
          },
        }
      : {}),
  };
}
