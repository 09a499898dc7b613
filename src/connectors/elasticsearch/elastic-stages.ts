import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { AppError } from '../../errors.ts';
import type { ConnectorContext, StageNote, Stages } from '../connector.ts';
import { adopt, type HttpConnection } from '../http/http-connections.ts';
import { dialHost } from '../http/http-dialler.ts';
import { classifyHttpError } from '../http/http-errors.ts';
import { type Answer, exchange } from '../http/http-exchange.ts';
import { describeTls } from '../transport/describe-tls.ts';
import { inspectAdministration } from './administration.ts';
import { readAnswer, refusal } from './elastic-answer.ts';
import {
  type ClusterInfo,
  type ElasticCluster,
  exhausted,
  readClusterInfo,
  versionMismatch,
} from './elastic-cluster.ts';
import type { ElasticConfig } from './elastic-tls.ts';

/** One host on its way through the stages. */
interface Candidate {
  readonly url: URL;
  socket?: Socket;
  connection?: HttpConnection;
  info?: ClusterInfo | undefined;
  /** Why it is tried no further. */
  error?: AppError;
}

const maxAnswerBytes = 1024 * 1024;
const partly = 'Not every host works: requests go on to the others, but a failover would fail there.';

/** The staged test: every host goes as far as it comes, and a stage fails when none passes it. */
export async function testStages(
  cluster: ElasticCluster,
  config: ElasticConfig,
  stages: Stages,
  { network, signal }: ConnectorContext,
): Promise<void> {
  const candidates: Candidate[] = cluster.urls.map((url) => ({ url }));
  /** Takes every host that is left one step further, and tells what became of each. */
  const advance = async (
    note: StageNote,
    among: Candidate[],
    step: (candidate: Candidate) => Promise<string>,
  ): Promise<void> => {
    const said = await Promise.all(
      among.map(async (candidate) => {
        try {
          return `${candidate.url.host}: ${await step(candidate)}`;
        } catch (error) {
          candidate.error = error instanceof AppError ? error : classifyHttpError(error);
          candidate.socket?.destroy();
          return `${candidate.url.host}: FAILED, ${candidate.error.message}`;
        }
      }),
    );
    const failures = candidates.filter(({ error }) => error);
    if (failures.length === candidates.length)
      // Of what failed here, so that the stage and its reason belong together.
      throw exhausted(
        [...among, ...failures.filter((one) => !among.includes(one))].map(({ url, error }) => ({
          url,
          error: error!,
        })),
      );
    note.detail(said.join('; '));
    if (among.some(({ error }) => error)) note.hint(partly);
  };
  const left = () => candidates.filter(({ error }) => !error);

  try {
    await stages.run('resolve', (note) =>
      advance(note, left(), async ({ url }) => {
        const addresses = await network.resolve(dialHost(url), signal);
        return addresses.map(({ address }) => address).join(', ');
      }),
    );
    await stages.run('connect', (note) =>
      advance(note, left(), async (candidate) => {
        const { url } = candidate;
        candidate.socket = await cluster.dialler.connect(url, cluster.connectTimeoutMs, signal);
        return `${candidate.socket.remoteAddress} port ${candidate.socket.remotePort}`;
      }),
    );
    const secured = left().filter(({ url }) => url.protocol === 'https:');
    if (secured.length > 0)
      await stages.run('tls', async (note) => {
        await advance(note, secured, async (candidate) => {
          const { url, socket } = candidate;
          const tls: TLSSocket = await cluster.dialler.secure(socket!, url, cluster.connectTimeoutMs, signal);
          candidate.socket = tls;
          return describeTls(tls, 'https');
        });
        if (!config.verifyCertificate)
          note.hint('The certificate is not verified: verifyCertificate is off.');
      });
    else stages.skip('tls', 'no host has the scheme https: whatever is sent can be read on the way');

    const greet = (note: StageNote) =>
      advance(note, left(), async (candidate) => {
        candidate.connection = await adopt(candidate.url, candidate.socket!, () => {});
        const answer = await ask(cluster, candidate, 'GET', '/', signal);
        // Whom the cluster knows and denies this is let in all the same.
        if (answer.status === 403) return 'let in, but the account may not read the version';
        candidate.info = readClusterInfo(answer);
        return `let in by ${candidate.info.product} ${candidate.info.version}`;
      });
    let greeting = '';
    if (config.authenticate) await stages.run('authenticate', greet);
    else {
      const early: { error?: unknown } = {};
      const note: StageNote = { detail: (text) => (greeting = text), hint() {} };
      await greet(note).catch((error: unknown) => (early.error = error));
      const { error } = early;
      if (error instanceof AppError && error.code === 'authentication_failed')
        await stages.run('authenticate', async (real) => {
          real.hint('The cluster wants a log-in: switch authenticate on.');
          throw error;
        });
      stages.skip('authenticate', `authenticate is off${error ? '' : ', and the cluster wants no log-in'}`);
      if (error) await stages.run('operate', () => Promise.reject(error));
    }
    await stages.run('operate', (note) => operate(cluster, config, left(), greeting, note, signal));
  } finally {
    for (const { socket } of candidates) socket?.destroy();
  }
}

async function operate(
  cluster: ElasticCluster,
  config: ElasticConfig,
  candidates: Candidate[],
  greeting: string,
  note: StageNote,
  signal: AbortSignal,
): Promise<void> {
  const hints: string[] = [];
  const said: string[] = [];
  const [first] = candidates;
  const { info } = first!;
  if (info) {
    said.push(`cluster ${info.name}, ${info.product} ${info.version}`);
    const mismatch = versionMismatch(config.elasticsearchMajorVersion, info);
    if (mismatch) hints.push(`${mismatch}.`);
    const strange = candidates.filter((other) => other.info && other.info.uuid !== info.uuid);
    for (const { url } of strange)
      hints.push(`${url.host} belongs to another cluster: the hosts must be nodes of one.`);
  } else if (greeting) said.push(greeting);
  const health = await ask(cluster, first!, 'GET', '/_cluster/health', signal);
  if (health.status === 403)
    hints.push(
      'The account may not read the health of the cluster (privilege monitor), which is not needed.',
    );
  else {
    const { status, number_of_nodes: nodes } = readAnswer<{ status: string; number_of_nodes: number }>(
      health,
    );
    said.push(`health ${status}, ${nodes} ${nodes === 1 ? 'node' : 'nodes'}`);
    if (status === 'red') hints.push('The cluster is red: some data cannot be read or written.');
  }
  if (config.authenticate) hints.push(...(await missingPrivileges(cluster, config, first!, signal)));
  if (config.administrate) {
    const who = info ? `${info.product} ${info.version}` : 'the cluster';
    const found = await inspectAdministration(config, who, (path) =>
      ask(cluster, first!, 'GET', path, signal),
    );
    said.push(...found.said);
    hints.push(...found.hints);
  }
  const { indexName } = config;
  if (indexName && !/[*,:]/.test(indexName)) {
    // The last one: the client of the connection closes it after a HEAD.
    const index = await ask(cluster, first!, 'HEAD', `/${encodeURIComponent(indexName)}`, signal);
    said.push(
      `index ${indexName} ${index.status === 200 ? 'is there' : `was answered with ${index.status}`}`,
    );
    if (index.status === 404) hints.push(`There is no index, alias or data stream ${indexName} yet.`);
    else if (index.status === 403) hints.push(`The account may not see ${indexName}.`);
    else if (index.status >= 500) throw refusal(index);
  }
  note.detail(said.join('; '));
  if (candidates.length < cluster.urls.length) hints.push(partly);
  if (hints.length > 0) note.hint(hints.join(' '));
}

/** What the account may not do that the connection is for, as its own cluster says; none where it cannot say. */
async function missingPrivileges(
  cluster: ElasticCluster,
  { indexName, elasticsearchType }: ElasticConfig,
  candidate: Candidate,
  signal: AbortSignal,
): Promise<string[]> {
  if (!indexName) return [];
  const names = indexName.split(',');
  const privileges = elasticsearchType === 'READ' ? ['read'] : ['read', 'write'];
  const answer = await ask(cluster, candidate, 'POST', '/_security/user/_has_privileges', signal, {
    index: [{ names, privileges }],
  });
  if (answer.status !== 200) return [];
  const { index } = readAnswer<{ index?: Record<string, Record<string, boolean>> }>(answer);
  return Object.entries(index ?? {}).flatMap(([name, rights]) => {
    const missing = privileges.filter((privilege) => rights[privilege] === false);
    return missing.length > 0 ? [`Grant the account ${missing.join(' and ')} on the index ${name}.`] : [];
  });
}

function ask(
  cluster: ElasticCluster,
  { url, connection }: Candidate,
  method: 'GET' | 'HEAD' | 'POST',
  path: string,
  signal: AbortSignal,
  body?: object,
): Promise<Answer> {
  const limits = { timeoutMs: cluster.connectTimeoutMs, maxBodyBytes: maxAnswerBytes };
  return exchange(
    connection!,
    cluster.compose(url, { method, path, ...(body ? { body } : {}) }),
    limits,
    signal,
  );
}
