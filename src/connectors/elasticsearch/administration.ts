import { AppError } from '../../errors.ts';
import type { Answer } from '../http/http-exchange.ts';
import { readAnswer, refusal, saidIn } from './elastic-answer.ts';
import type { ElasticCluster } from './elastic-cluster.ts';
import type { ElasticConfig } from './elastic-tls.ts';

type Policy = NonNullable<ElasticConfig['indexLifecyclePolicy']>;

/** Above what Elasticsearch brings itself (100), so that its templates for `logs-*` and the like step back. */
const templatePriority = 200;

/**
 * Makes the lifecycle policy, the index template and the first index that are switched on and not there;
 * what is there stays as it is. A cluster without lifecycle policies is warned of.
 */
export async function administer(
  cluster: ElasticCluster,
  config: ElasticConfig,
  warn: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const policy = config.indexLifecyclePolicyCreated ? config.indexLifecyclePolicy : undefined;
  const hasPolicy = policy ? await makePolicy(cluster, policy, warn, signal) : false;
  const alias = config.indexName;
  if (!alias || (!config.indexTemplateCreated && !hasPolicy)) return;
  if (/[*,:]/.test(alias)) {
    warn('indexName: names several indices, so no template and no first index are made');
    return;
  }
  const lifecycle =
    hasPolicy && policy
      ? { 'index.lifecycle.name': policy.policyName, 'index.lifecycle.rollover_alias': alias }
      : {};
  if (config.indexTemplateCreated && config.indexTemplateName)
    await makeTemplate(cluster, config, alias, lifecycle, signal);
  await makeFirstIndex(cluster, alias, config.indexTemplateCreated ? {} : lifecycle, signal);
}

async function makePolicy(
  cluster: ElasticCluster,
  policy: Policy,
  warn: (text: string) => void,
  signal: AbortSignal,
): Promise<boolean> {
  const path = `/_ilm/policy/${encodeURIComponent(policy.policyName)}`;
  const there = await cluster.send({ method: 'GET', path, repeatable: true }, signal);
  if (there.status === 200) return true;
  if (knowsNoPolicies(there)) {
    const info = await cluster.identify(signal);
    warn(noPolicies(info ? `${info.product} ${info.version}` : 'the cluster'));
    return false;
  }
  if (there.status !== 404) throw hinted(refusal(there), needsIlm);
  const answer = await cluster.send(
    { method: 'PUT', path, body: { policy: { phases: phasesOf(policy) } }, repeatable: true },
    signal,
  );
  done(answer, needsIlm);
  return true;
}

/** Who knows no policies takes the path for that of an index, or of nothing. */
function knowsNoPolicies(answer: Answer): boolean {
  if (answer.status === 405) return true;
  const { type, reason = '' } = saidIn(answer);
  const isUnknown = type === 'index_not_found_exception' || /no handler/.test(reason);
  return (answer.status === 400 || answer.status === 404) && isUnknown;
}

function noPolicies(who: string): string {
  return `indexLifecyclePolicy: ${who} has no lifecycle policies (ILM), so none is made; roll-over and deletion have to be arranged there`;
}

const needsIlm = 'The account needs the cluster privilege manage_ilm.';
const needsTemplates = 'The account needs the cluster privilege manage_index_templates.';

/** What administration would find, for the test, which makes nothing: what is there, and what is in the way. */
export async function inspectAdministration(
  config: ElasticConfig,
  who: string,
  read: (path: string) => Promise<Answer>,
): Promise<{ said: string[]; hints: string[] }> {
  const said: string[] = [];
  const hints: string[] = [];
  const look = async (what: string, path: string, needs: string) => {
    const answer = await read(path);
    if (answer.status === 200) said.push(`${what} is there`);
    else if (answer.status === 403) hints.push(needs);
    else if (what.startsWith('policy') && knowsNoPolicies(answer)) hints.push(`${noPolicies(who)}.`);
    else if (answer.status === 404) said.push(`${what} is to be made`);
    else throw refusal(answer);
  };
  const { indexLifecyclePolicyCreated, indexLifecyclePolicy, indexTemplateCreated, indexTemplateName } =
    config;
  if (indexLifecyclePolicyCreated && indexLifecyclePolicy) {
    const { policyName } = indexLifecyclePolicy;
    await look(`policy ${policyName}`, `/_ilm/policy/${encodeURIComponent(policyName)}`, needsIlm);
  }
  if (indexTemplateCreated && indexTemplateName)
    await look(
      `template ${indexTemplateName}`,
      `/_index_template/${encodeURIComponent(indexTemplateName)}`,
      needsTemplates,
    );
  return { said, hints };
}

async function makeTemplate(
  cluster: ElasticCluster,
  config: ElasticConfig,
  alias: string,
  lifecycle: object,
  signal: AbortSignal,
): Promise<void> {
  const path = `/_index_template/${encodeURIComponent(config.indexTemplateName!)}`;
  const there = await cluster.send({ method: 'GET', path, repeatable: true }, signal);
  if (there.status === 200) return;
  if (there.status !== 404) throw hinted(refusal(there), needsTemplates);
  const settings = {
    ...setting('index.number_of_shards', config.indexTemplateNumberOfShards),
    ...setting('index.number_of_replicas', config.indexTemplateNumberOfReplicas),
    ...setting('index.refresh_interval', config.indexTemplateRefreshInterval),
    ...lifecycle,
  };
  const body = { index_patterns: [`${alias}-*`], priority: templatePriority, template: { settings } };
  done(await cluster.send({ method: 'PUT', path, body, repeatable: true }, signal), needsTemplates);
}

async function makeFirstIndex(
  cluster: ElasticCluster,
  alias: string,
  settings: object,
  signal: AbortSignal,
): Promise<void> {
  const needs = `The account needs the index privilege manage on ${alias} and ${alias}-*.`;
  const there = await cluster.send(
    { method: 'HEAD', path: `/${encodeURIComponent(alias)}`, repeatable: true },
    signal,
  );
  if (there.status === 200) return;
  if (there.status !== 404) throw hinted(refusal(there), needs);
  const path = `/${encodeURIComponent(`${alias}-000001`)}`;
  const body = { settings, aliases: { [alias]: { is_write_index: true } } };
  const answer = await cluster.send({ method: 'PUT', path, body, repeatable: true }, signal);
  // Another worker of the environment was faster.
  if (saidIn(answer).type !== 'resource_already_exists_exception') done(answer, needs);
}

function done(answer: Answer, needs: string): void {
  try {
    readAnswer(answer);
  } catch (error) {
    throw hinted(error as AppError, needs);
  }
}

function hinted(error: AppError, needs: string): AppError {
  if (error.code !== 'permission_denied') return error;
  return new AppError(error.code, error.message, {
    cause: error,
    details: { ...error.details, hint: needs },
  });
}

/** The phases of a policy as Elasticsearch takes them. */
export function phasesOf(policy: Policy): Record<string, object> {
  const replicas = (count: number | null | undefined) =>
    count == null ? {} : { allocate: { number_of_replicas: count } };
  const rollover = {
    ...setting('max_age', withUnit(policy.maxAgeOfRollover, 'd')),
    ...setting('max_size', withUnit(policy.maxIndexSizeOfRollover, 'gb')),
    ...setting('max_docs', policy.maxDocCountOfRollover),
  };
  const phases: Record<string, object> = {};
  if (policy.enableHotPhase)
    phases['hot'] = { min_age: '0ms', actions: Object.keys(rollover).length > 0 ? { rollover } : {} };
  if (policy.enableWarmPhase)
    phases['warm'] = {
      min_age: '0ms',
      actions: {
        ...replicas(policy.numberOfReplicasForWarm),
        ...(policy.maxNumShardsForShrink == null
          ? {}
          : { shrink: { number_of_shards: policy.maxNumShardsForShrink } }),
        ...(policy.maxNumSegmentsForForceMerge == null
          ? {}
          : { forcemerge: { max_num_segments: policy.maxNumSegmentsForForceMerge } }),
      },
    };
  if (policy.enableColdPhase)
    phases['cold'] = {
      min_age: `${policy.minAgeOfCold ?? 0}d`,
      actions: replicas(policy.numberOfReplicasForCold),
    };
  if (policy.enableDeletePhase)
    phases['delete'] = { min_age: `${policy.minAgeOfDelete ?? 0}d`, actions: { delete: {} } };
  return phases;
}

function withUnit(value: number | null | undefined, unit: string): string | undefined {
  return value == null ? undefined : `${value}${unit}`;
}

function setting(name: string, value: string | number | null | undefined): object {
  return value == null ? {} : { [name]: value };
}
