import type { Access } from '../auth/access.ts';
import type { Principal } from '../auth/permissions.ts';
import type { Tokens } from '../auth/tokens.service.ts';
import type { Events } from '../server/events.routes.ts';
import type { ProjectRow } from '../server/route-access.ts';
import type { Database } from '../store/database.ts';

/** Something that ends soon, or has ended. */
export interface ExpiringItem {
  kind: 'certificate' | 'keystore' | 'token';
  /** null for tokens. */
  project: string | null;
  name: string;
  /** Of a keystore's file. */
  environmentName: string | null;
  expiresAt: string;
  expired: boolean;
}

export interface Expiring {
  /** What ends within so many days and the principal may see, the soonest first. */
  list(principal: Principal, days: number): Promise<ExpiringItem[]>;
  /** Publishes an event for each item that ends within 30 days, once a day while somebody listens. */
  announce(events: Events): Promise<void>;
}

const dayMs = 24 * 3_600_000;
const announcedDays = 30;

interface EndRow {
  project_id: string;
  name: string;
  environment: string | null;
  expires_at: number;
}

/** What ends within `days` of now, of all projects. */
export async function objectsEnding(
  db: Database,
  days: number,
): Promise<(EndRow & { kind: 'certificate' | 'keystore' })[]> {
  const until = Date.now() + days * dayMs;
  const certificates = await db.all<EndRow>(
    'select project_id, name, null as environment, expires_at from certificates where expires_at <= $1',
    [until],
  );
  const keystores = await db.all<EndRow>(
    'select k.project_id, k.name, f.environment, f.expires_at from keystore_files f join keystores k on k.id = f.keystore_id where f.expires_at <= $1',
    [until],
  );
  return [
    ...certificates.map((row) => ({ kind: 'certificate' as const, ...row })),
    ...keystores.map((row) => ({ kind: 'keystore' as const, ...row })),
  ];
}

/** Tells of certificates, keystores and tokens before they end. */
export function createExpiring(parts: {
  db: Database;
  access: Access;
  projects: { findById(id: string): ProjectRow | undefined };
  tokens: Tokens;
}): Expiring {
  const { db, access, projects, tokens } = parts;
  const announced = new Map<string, number>();

  async function objects(days: number): Promise<ExpiringItem[]> {
    const now = Date.now();
    return (await objectsEnding(db, days)).flatMap((row) => {
      const project = projects.findById(row.project_id)?.name;
      if (project === undefined) return [];
      return [
        {
          kind: row.kind,
          project,
          name: row.name,
          environmentName: row.environment,
          expiresAt: new Date(row.expires_at).toISOString(),
          expired: row.expires_at <= now,
        },
      ];
    });
  }

  return {
    async list(principal, days) {
      const now = Date.now();
      const seen = (await objects(days)).filter(({ project, environmentName }) =>
        access.allows(principal, 'KEYS:VIEW', {
          project: project!,
          ...(environmentName === null ? {} : { environment: environmentName }),
        }),
      );
      for (const { kind, name, expiresAt } of tokens.list(principal)) {
        // A log-in is meant to end within the hour.
        if (kind === 'access' || expiresAt === null || Date.parse(expiresAt) > now + days * dayMs) continue;
        seen.push({
          kind: 'token',
          project: null,
          name,
          environmentName: null,
          expiresAt,
          expired: Date.parse(expiresAt) <= now,
        });
      }
      return seen.sort((a, b) => (a.expiresAt < b.expiresAt ? -1 : a.expiresAt > b.expiresAt ? 1 : 0));
    },

    async announce(events) {
      if (events.listenerCount('event') === 0) return;
      const now = Date.now();
      for (const [key, at] of announced) if (at <= now - dayMs) announced.delete(key);
      for (const item of await objects(announcedDays)) {
        const key = JSON.stringify([item.kind, item.project, item.name, item.environmentName]);
        if (announced.has(key)) continue;
        announced.set(key, now);
        events.publish({
          event: 'expiry',
          data: { ...item },
          scope: {
            project: item.project!,
            ...(item.environmentName === null ? {} : { environment: item.environmentName }),
          },
        });
      }
    },
  };
}
