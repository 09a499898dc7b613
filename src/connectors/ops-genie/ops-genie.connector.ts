import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ConfigOf, InputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { type ConnectorContext, defineConnector, type Stages } from '../connector.ts';
import { adopt } from '../http/http-connections.ts';
import { dialHost, HttpDialler } from '../http/http-dialler.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import { type Answer, exchange } from '../http/http-exchange.ts';
import { HttpSession } from '../http/http-session.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { throughProxy } from './connect-tunnel.ts';
import type { opsGenie } from './ops-genie.definition.ts';
import { opsGenie as definition } from './ops-genie.definition.ts';
import { OpsGenieApi, readAnswer } from './ops-genie-api.ts';

type OpsGenieConfig = ConfigOf<typeof opsGenie>;
type CreateInput = InputOf<(typeof opsGenie)['operations']['createAlert']>;
type AlertInput = InputOf<(typeof opsGenie)['operations']['closeAlert']>;

interface LiveOpsGenie {
  readonly config: OpsGenieConfig;
  readonly api: OpsGenieApi;
  readonly session: HttpSession;
  readonly dialler: HttpDialler;
  readonly base: URL;
  readonly proxy: URL | undefined;
  readonly timeoutMs: number;
}

/** Opsgenie allows a few hundred requests a minute: more connections would only wait there. */
const maxConnections = 8;
const maxTags = 20;
/** What an integration key may ask for with read access alone. */
const harmlessPath = '/v2/alerts?limit=1';

/** Alerts by Opsgenie's Alert API, each followed until it is processed. */
export const opsGenieConnector = defineConnector<typeof opsGenie, LiveOpsGenie>(definition, {
  open,

  async prove({ api }, { signal }) {
    const answer = await api.send('GET', harmlessPath, undefined, signal);
    // The key is known: one that may create alerts need not be one that may read them.
    if (answer.status !== 403) readAnswer(answer);
  },

  test: testStages,

  operations: {
    createAlert: ({ api, config }, input, { signal }) =>
      api.submit('/v2/alerts', alertOf(config, input), signal),
    closeAlert: (live, input, { signal }) => change(live, 'close', input, signal),
    acknowledgeAlert: (live, input, { signal }) => change(live, 'acknowledge', input, signal),
    addNote: (live, input, { signal }) => change(live, 'notes', input, signal),
  },

  figures: ({ session }) => session.figures(),

  close: ({ session }) => session.close(),

  classify: classifyHttpError,
});

function open(config: OpsGenieConfig, { network, trust, signal }: ConnectorContext): LiveOpsGenie {
  const base = readUrl('apiUrl', config.apiUrl);
  const proxy = config.proxyUrl ? readUrl('proxyUrl', config.proxyUrl) : undefined;
  const timeoutMs = config.timeout === 0 ? 2 ** 31 - 1 : config.timeout * 1000;
  const usesTls = base.protocol === 'https:' || proxy?.protocol === 'https:';
  const tls = usesTls ? trust.tls(config) : {};
  // The client certificate is for Opsgenie, not for the proxy on the way.
  const { cert: _cert, key: _key, ...forProxy } = tls;
  const dialler = new HttpDialler(network, {
    timeoutMs,
    tls: () => tls,
    ...(proxy ? { reach: throughProxy(network, proxy, () => forProxy) } : {}),
  });
  const session = new HttpSession(dialler, { perOrigin: maxConnections, total: maxConnections }, signal);
  const api = new OpsGenieApi(session, base, config.apiKey, timeoutMs);
  return { config, api, session, dialler, base, proxy, timeoutMs };
}

function readUrl(field: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new AppError('invalid_configuration', `${field} is not an http or https URL`);
  return url;
}

function alertOf(config: OpsGenieConfig, input: CreateInput): object {
  const { responders, tags, priority, source, entity, ...rest } = input;
  const allTags = [...new Set([...config.tags, ...(tags ?? [])])];
  return {
    ...rest,
    responders: (responders ?? config.responders).map(identified),
    tags: allTags.slice(0, maxTags),
    priority: priority ?? config.priority,
    ...optionalText('source', source ?? config.source),
    ...optionalText('entity', entity ?? config.entity),
  };
}

function identified(responder: OpsGenieConfig['responders'][number]): object {
  return Object.fromEntries(Object.entries(responder).filter(([, value]) => value != null));
}

function optionalText(name: string, value: string | null | undefined): object {
  return value ? { [name]: value } : {};
}

async function change({ api, config }: LiveOpsGenie, action: string, input: AlertInput, signal: AbortSignal) {
  const { identifier, identifierType = 'id', user, source, note } = input;
  // As the segment of a path these two lead elsewhere, however they are encoded.
  if (identifier === '.' || identifier === '..')
    throw new AppError('bad_request', 'identifier does not identify an alert', {
      details: { validationErrors: [{ field: 'identifier', message: 'does not identify an alert' }] },
    });
  const body = {
    ...optionalText('user', user),
    ...optionalText('source', source ?? config.source),
    ...optionalText('note', note),
  };
  const path = `/v2/alerts/${encodeURIComponent(identifier)}/${action}?identifierType=${identifierType}`;
  return api.submit(path, body, signal);
}

async function testStages(config: OpsGenieConfig, stages: Stages, ctx: ConnectorContext): Promise<void> {
  const live = open(config, ctx);
  const { base, proxy, dialler, timeoutMs } = live;
  const via = proxy ? ` through the proxy ${proxy.host}` : '';
  let socket: Socket | undefined;
  try {
    await stages.run('resolve', async (note) => {
      const host = dialHost(proxy ?? base);
      const addresses = await ctx.network.resolve(host, ctx.signal);
      note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
      if (proxy) note.hint(`The proxy resolves ${base.hostname}.`);
    });
    const reached = await stages.run('connect', async (note) => {
      const connected = await dialler.connect(base, timeoutMs, ctx.signal);
      note.detail(`${connected.remoteAddress} port ${connected.remotePort}${proxy ? ', the proxy' : ''}`);
      return connected;
    });
    socket = reached;
    if (base.protocol === 'https:')
      socket = await stages.run('tls', async (note) => {
        const secured: TLSSocket = await dialler.secure(reached, base, timeoutMs, ctx.signal);
        note.detail(describeTls(secured, `https${via}`));
        if (!config.verifyCertificate)
          note.hint('The certificate is not verified: verifyCertificate is off.');
        return secured;
      });
    else stages.skip('tls', 'apiUrl is plain http: the API key can be read on the way');
    const answer = await stages.run('authenticate', async (note) => {
      const given = await ask(live, socket!, ctx.signal);
      if (given.status !== 403) readAnswer(given);
      note.detail(`the API key is known to ${base.host}`);
      return given;
    });
    await stages.run('operate', async (note) => {
      if (answer.status === 403)
        note.hint('Give the integration read access: without it only this test and the health check suffer.');
      const { data } = readAnswer(answer);
      const alerts = Array.isArray(data) ? data.length : 0;
      note.detail(`GET /v2/alerts was answered${alerts > 0 ? '' : '; there are no alerts yet'}`);
    });
  } finally {
    socket?.destroy();
    await live.session.close();
  }
}

async function ask(live: LiveOpsGenie, socket: Socket, signal: AbortSignal): Promise<Answer> {
  const request = live.api.compose('GET', harmlessPath);
  const connection = await adopt(request.url, socket, () => {});
  const limits = { timeoutMs: live.timeoutMs, maxBodyBytes: 1024 * 1024 };
  return exchange(connection, request, limits, signal);
}
