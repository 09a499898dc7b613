import type { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { type Entry, FilterParser } from 'ldapts';
import type { ConfigOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector } from '../connector.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { SessionPool } from '../transport/session-pool.ts';
import { checkAlternativeName, checkCommonName } from './certificate-name.ts';
import { ldap, parseServerAddress } from './ldap.definition.ts';
import { classifyLdapError, policyHint, resultCodeOf } from './ldap-errors.ts';
import { fillFilter } from './ldap-filter.ts';
import { LdapSession, type LdapSettings, type Search } from './ldap-session.ts';

type LdapConfig = ConfigOf<typeof ldap>;

interface LiveLdap {
  readonly config: LdapConfig;
  readonly settings: LdapSettings;
  /** Sessions that are bound as the configured account, and stay so. */
  readonly pool: SessionPool<LdapSession>;
  /** Aborted by close and by the worker. */
  readonly signal: AbortSignal;
  readonly closing: AbortController;
}

const maxSessions = 5;
const idleMs = 60_000;
const defaultSizeLimit = 1000;
const defaultFilter = '(uid={0})';
const scopes = { OBJECT: 'base', ONE_LEVEL: 'one', SUBTREE: 'sub' } as const;

/** Searches a directory, and authenticates its users by binding as them. */
export const ldapConnector = defineConnector<typeof ldap, LiveLdap>(ldap, {
  open(config, ctx) {
    const settings = readSettings(config, ctx);
    const closing = new AbortController();
    return {
      config,
      settings,
      pool: new SessionPool((signal) => openBound(settings, config, signal), { maxSessions, idleMs }),
      signal: AbortSignal.any([ctx.signal, closing.signal]),
      closing,
    };
  },

  async prove(live, { signal }) {
    const either = AbortSignal.any([live.signal, signal]);
    await live.pool.use(either, (session) => session.search(baseEntry(live.config), either));
  },

  async test(config, stages, ctx) {
    const { signal } = ctx;
    const settings = readSettings(config, ctx);
    const { host, port, transport } = settings;
    let socket: Socket | undefined;
    let session: LdapSession | undefined;
    try {
      await stages.run('resolve', async (note) => {
        const addresses = await ctx.network.resolve(host, signal);
        note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
      });
      let ready = await stages.run('connect', async (note) => {
        socket = await LdapSession.connect(settings, signal);
        note.detail(`${socket.remoteAddress} port ${port}`);
        return socket;
      });
      if (transport === 'plain') stages.skip('tls', 'plain, as configured: passwords travel in clear');
      else
        ready = await stages.run('tls', async (note) => {
          const secured = await LdapSession.secure(ready, settings, signal);
          note.detail(describeTls(secured, transport === 'starttls' ? 'StartTLS' : 'ldaps'));
          if (config.requireCertificateType === 'NOT_REQUIRED')
            note.hint(
              'Nothing of the certificate was verified: set requireCertificateType to REQUIRED_AN_PN.',
            );
          return secured;
        });
      const opened = LdapSession.over(ready, settings);
      session = opened;
      await stages.run('authenticate', async (note) => {
        const policy = await opened.bind(config.username, config.password, signal);
        note.detail(`simple bind as ${config.username}`);
        const advice = policyHint(policy);
        if (advice) note.hint(advice);
      });
      await stages.run('operate', async (note) => {
        const { entries } = await opened.search(baseEntry(config), signal);
        if (entries.length === 0)
          throw new AppError('request_rejected', `The account does not see the entry ${config.baseDn}`, {
            details: { hint: 'Check baseDn, and what the account may read.' },
          });
        const found = await opened.search(
          {
            ...baseEntry(config),
            scope: scopes[config.searchScope],
            filter: usersFilter(config),
            sizeLimit: 1,
          },
          signal,
        );
        note.detail(
          found.entries.length > 0
            ? `the base entry is there, and the user filter finds entries`
            : `the base entry is there`,
        );
        if (found.entries.length === 0)
          note.hint(
            'The user filter finds no entry below baseDn: check customFilter, baseDn and searchScope.',
          );
        else if (transport === 'plain' && (await offersStartTls(opened, config, signal)))
          note.hint('The server offers StartTLS: turn on startTls, and passwords no longer travel in clear.');
      });
      await opened.quit();
    } finally {
      session?.destroy();
      socket?.destroy();
    }
  },

  operations: {
    async authenticate(live, { username, password, attributes = [] }, { signal }) {
      // A bind with a name and no password succeeds without proving anything (RFC 4513 5.1.2).
      if (password === '') throw new AppError('request_rejected', 'an empty password proves nothing');
      const { config, settings, pool } = live;
      const either = AbortSignal.any([live.signal, signal]);
      const search: Search = {
        ...baseEntry(config),
        filter: fillFilter(config.customFilter ?? defaultFilter, [username]),
        scope: scopes[config.searchScope],
        attributes: attributes.length > 0 ? attributes : ['1.1'],
        sizeLimit: 2,
      };
      const { entries } = await pool.use(either, (session) => session.search(search, either));
      if (entries.length > 1)
        throw new AppError(
          'request_rejected',
          'The user filter finds more than one entry for this user name',
          {
            details: { hint: 'Make customFilter or baseDn narrower, so that one user name finds one entry.' },
          },
        );
      const user = entries[0];
      // An entry without a name would be an anonymous log-in.
      if (user === undefined || user.dn === '') return { authenticated: false };
      // On a connection of its own: the sessions of the pool stay bound as the configured account.
      const session = await LdapSession.open(settings, either);
      try {
        await session.bind(user.dn, password, either);
      } catch (error) {
        if (wrongPassword.has(resultCodeOf(error) ?? -1)) return { authenticated: false };
        throw error;
      } finally {
        await session.quit();
      }
      return {
        authenticated: true,
        dn: user.dn,
        ...(attributes.length > 0 ? { attributes: readAttributes(user) } : {}),
      };
    },

    async search(live, input, { signal }) {
      const { config, pool } = live;
      const either = AbortSignal.any([live.signal, signal]);
      const search: Search = {
        baseDn: input.baseDn ?? config.baseDn,
        filter: checked(fillFilter(input.filter, input.parameters ?? [])),
        scope: scopes[input.scope ?? config.searchScope],
        attributes: input.attributes,
        sizeLimit: input.sizeLimit ?? defaultSizeLimit,
        timeLimitSeconds: input.timeLimitSeconds ?? Math.ceil(config.connectionTimeout / 1000),
      };
      const { entries, truncated } = await pool.use(either, (session) => session.search(search, either));
      return {
        entries: entries.map((entry) => ({ dn: entry.dn, attributes: readAttributes(entry) })),
        truncated,
      };
    },
  },

  figures: ({ pool }) => pool.figures,

  async close(live) {
    live.closing.abort(new AppError('cancelled', 'The connection was closed'));
    await live.pool.close();
  },

  classify: (error) =>
    classifyLdapError(error) ?? new AppError('internal_error', undefined, { cause: error }),
});

/** invalidCredentials, and inappropriateAuthentication of an entry without a password. */
const wrongPassword = new Set([49, 48]);

function readSettings(config: LdapConfig, ctx: ConnectorContext): LdapSettings {
  const address = parseServerAddress(config.serverAddress);
  if (!address) throw new AppError('invalid_configuration', 'serverAddress is no address of an LDAP server');
  try {
    FilterParser.parseString(usersFilter(config));
  } catch (error) {
    throw new AppError(
      'invalid_configuration',
      `customFilter is no filter of RFC 4515 (${(error as Error).message})`,
    );
  }
  const { host, port, secure } = address;
  const transport = secure ? 'ldaps' : config.startTls ? 'starttls' : 'plain';
  return {
    network: ctx.network,
    host,
    port,
    transport,
    tls: transport === 'plain' ? {} : readTls(config, ctx),
    timeoutMs: config.connectionTimeout,
  };
}

function readTls(config: LdapConfig, ctx: ConnectorContext): ConnectionOptions {
  const { trustStoreName, keyStoreName, certificateName, requireCertificateType } = config;
  const verifyCertificate = requireCertificateType !== 'NOT_REQUIRED';
  const tls = ctx.trust.tls({
    verifyCertificate,
    ...(trustStoreName ? { trustStoreName } : {}),
    ...(keyStoreName ? { keyStoreName } : {}),
    ...(certificateName ? { certificateName } : {}),
  });
  if (!verifyCertificate) return { ...tls, rejectUnauthorized: false };
  return {
    ...tls,
    rejectUnauthorized: true,
    checkServerIdentity: requireCertificateType === 'REQUIRED_CN' ? checkCommonName : checkAlternativeName,
  };
}

async function openBound(
  settings: LdapSettings,
  { username, password }: LdapConfig,
  signal: AbortSignal,
): Promise<LdapSession> {
  const session = await LdapSession.open(settings, signal);
  try {
    await session.bind(username, password, signal);
    return session;
  } catch (error) {
    session.destroy();
    throw error;
  }
}

const startTlsOid = '1.3.6.1.4.1.1466.20037';

/** Whether the server's own entry lists StartTLS (RFC 4512 5.1); false where the account may not read it. */
async function offersStartTls(
  session: LdapSession,
  config: LdapConfig,
  signal: AbortSignal,
): Promise<boolean> {
  const attributes = ['supportedExtension'];
  const found = await session
    .search({ ...baseEntry(config), baseDn: '', attributes }, signal)
    .catch((error: unknown) => {
      if (resultCodeOf(error) === undefined) throw error;
      return { entries: [] };
    });
  return found.entries.some((entry) => readAttributes(entry)['supportedExtension']?.includes(startTlsOid));
}

function baseEntry({ baseDn, connectionTimeout }: LdapConfig): Search {
  return {
    baseDn,
    filter: '(objectClass=*)',
    scope: 'base',
    attributes: ['1.1'],
    sizeLimit: 1,
    timeLimitSeconds: Math.ceil(connectionTimeout / 1000),
  };
}

function checked(filter: string): string {
  try {
    FilterParser.parseString(filter);
    return filter;
  } catch (error) {
    throw new AppError('request_rejected', `The filter is not valid (${(error as Error).message})`, {
      cause: error,
      details: { hint: 'Filters are written as RFC 4515 says, such as (&(objectClass=person)(uid={0})).' },
    });
  }
}

/** The user filter with any name in the place of the user's. */
function usersFilter({ customFilter }: LdapConfig): string {
  return (customFilter ?? defaultFilter).replaceAll('{0}', '*');
}

/** Values that are not UTF-8 text are base64, under the name with `;binary`. */
function readAttributes(entry: Entry): Record<string, string[]> {
  const found: [string, string[]][] = [];
  for (const [name, value] of Object.entries(entry)) {
    if (name === 'dn') continue;
    const values = [value].flat().map((each) => (typeof each === 'string' ? Buffer.from(each) : each));
    if (values.length === 0) continue;
    const texts = values.map(asText);
    if (texts.every((text) => text !== undefined)) found.push([name, texts]);
    else
      found.push([
        /;binary(;|$)/i.test(name) ? name : `${name};binary`,
        values.map((each) => each.toString('base64')),
      ]);
  }
  return Object.fromEntries(found);
}

function asText(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}
