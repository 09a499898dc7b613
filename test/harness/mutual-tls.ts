import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { StageResult } from '../../src/contract/worker-protocol.ts';
import { ERRORS, type ErrorCode } from '../../src/errors.ts';
import type { Certificate } from '../services/certificates.ts';
import { type KeystoreTools, makeAuthority, openKeystoreTools } from '../services/keystore-tools.ts';
import { type Plugboard, startPlugboard } from './plugboard.ts';

/** Which program wrote a keystore, and in which form. */
export type KeystoreKind =
  | 'JKS by keytool'
  | 'PKCS12 by keytool'
  | 'PKCS12 by openssl'
  | 'old PKCS12 by openssl'
  | 'PEM by openssl';

/** Certificates as files: `client` and `ec` of the authority that servers trust, `stranger` of none. */
export type Identity = 'client' | 'ec' | 'stranger';

export interface StoredFile {
  environmentName: 'production';
  type: 'JKS' | 'PKCS12' | 'PEM';
  file: string;
  password: string;
}

/** The all-in-one, and an authority of which servers and clients have their certificates. */
export interface MutualTlsSite extends AsyncDisposable {
  readonly app: Plugboard;
  /** For localhost and 127.0.0.1, with the intermediate. */
  readonly certificate: Certificate;
  /** Intermediate and root. */
  readonly caPem: string;
  /** Path of a file with both. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** A keystore with the key and chain of an identity. */
  keystore(kind: KeystoreKind, identity: Identity): Promise<StoredFile>;
  /** A truststore with the root, or with a certificate that has nothing to do with it. */
  truststore(kind: KeystoreKind, which?: 'root' | 'stranger'): Promise<StoredFile>;
  /** A call that must be answered 200. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  ok(method: string, path: string, body?: unknown): Promise<any>;
}

export const base = '/apiops/projects/MyProject';
const password = 'Canary-Keyst0re/p+ss';

/** Starts it; throws `ServerMissing` without keytool or openssl. */
export async function startMutualTlsSite(): Promise<MutualTlsSite> {
  const tools = await openKeystoreTools();
  try {
    await makeAuthority(tools);
    await tools.openssl(
      ...['req', '-x509', '-newkey', 'rsa:2048', '-noenc', '-days', '90', '-subj', '/CN=stranger'],
      ...['-keyout', 'stranger.key', '-out', 'stranger.pem'],
    );
    const certPem = Buffer.concat([await tools.read('server.pem'), await tools.read('intermediate.pem')]);
    await tools.write('server-chain.pem', certPem);
    await tools.write(
      'client-chain.pem',
      Buffer.concat([await tools.read('client.pem'), await tools.read('intermediate.pem')]),
    );
    const app = await startPlugboard({ deployTimeoutMs: 30_000 });
    const made = new Map<string, Promise<StoredFile>>();
    const once = (key: string, make: () => Promise<StoredFile>) => {
      const known = made.get(key) ?? make();
      made.set(key, known);
      return known;
    };
    return {
      app,
      certificate: { certPem: certPem.toString(), keyPem: (await tools.read('server.key')).toString() },
      caPem: (await tools.read('chain.pem')).toString(),
      caFile: tools.path('chain.pem'),
      certFile: tools.path('server-chain.pem'),
      keyFile: tools.path('server.key'),
      keystore: (kind, identity) => once(`${kind} ${identity}`, () => makeKeystore(tools, kind, identity)),
      truststore: (kind, which = 'root') =>
        once(`${kind} with ${which}`, () => makeTruststore(tools, kind, which)),
      async ok(method, path, body) {
        const answer = await app.call(method, path, body);
        assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`);
        return answer.body;
      },
      async [Symbol.asyncDispose]() {
        await app.stop();
        await tools[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await tools[Symbol.asyncDispose]();
    throw error;
  }
}

async function makeKeystore(
  tools: KeystoreTools,
  kind: KeystoreKind,
  identity: Identity,
): Promise<StoredFile> {
  const chain = identity === 'client' ? 'client-chain.pem' : `${identity}.pem`;
  if (kind === 'PEM by openssl') {
    const pem = Buffer.concat([await tools.read(`${identity}.key`), await tools.read(chain)]);
    return stored('PEM', pem, '');
  }
  const name = `${kind} ${identity}`.replaceAll(' ', '-');
  const exported = `${name}.openssl`;
  await tools.openssl(
    ...['pkcs12', '-export', '-in', chain, '-inkey', `${identity}.key`, '-name', identity],
    ...['-out', exported, '-passout', `pass:${password}`],
    ...(kind === 'old PKCS12 by openssl' ? ['-legacy'] : []),
  );
  if (kind.endsWith('openssl')) return stored('PKCS12', await tools.read(exported), password);
  const type = kind === 'JKS by keytool' ? 'JKS' : 'PKCS12';
  await tools.keytool(
    ...['-importkeystore', '-noprompt', '-srckeystore', exported, '-srcstoretype', 'PKCS12'],
    ...['-srcstorepass', password, '-destkeystore', name, '-deststoretype', type],
    ...['-deststorepass', password, '-destkeypass', password, '-srcalias', identity],
    ...['-srckeypass', password],
  );
  return stored(type, await tools.read(name), password);
}

async function makeTruststore(
  tools: KeystoreTools,
  kind: KeystoreKind,
  which: 'root' | 'stranger',
): Promise<StoredFile> {
  const pem = `${which}.pem`;
  if (kind === 'PEM by openssl') return stored('PEM', await tools.read(pem), '');
  const name = `${kind} trusts ${which}`.replaceAll(' ', '-');
  if (kind.endsWith('openssl')) {
    await tools.openssl(
      ...['pkcs12', '-export', '-nokeys', '-in', pem, '-out', name, '-passout', `pass:${password}`],
      ...(kind === 'old PKCS12 by openssl' ? ['-legacy'] : []),
    );
    return stored('PKCS12', await tools.read(name), password);
  }
  const type = kind === 'JKS by keytool' ? 'JKS' : 'PKCS12';
  await tools.keytool(
    ...['-importcert', '-noprompt', '-alias', which, '-file', pem, '-storetype', type],
    ...['-keystore', name, '-storepass', password],
  );
  return stored(type, await tools.read(name), password);
}

function stored(type: StoredFile['type'], file: Buffer, filePassword: string): StoredFile {
  return { environmentName: 'production', type, file: file.toString('base64'), password: filePassword };
}

export interface MutualTlsCase {
  /** Of the connection, without the names of trust material. */
  body: Record<string, unknown>;
  /** Fields in place of `trustStoreName`, for a type that takes its trust otherwise. */
  trust?: (which: 'root' | 'stranger', site: MutualTlsSite) => Promise<Record<string, unknown>>;
  /** Fields in place of `keyStoreName`, for a type that takes its key otherwise. */
  key?: (identity: Identity, site: MutualTlsSite) => Promise<Record<string, unknown>>;
  keystore: KeystoreKind;
  truststore: KeystoreKind;
  operation: string;
  input: unknown;
  /** What the definition demands in place of no keystore. */
  without?: 'none' | 'stranger';
  /** Where and how the server's refusal of a client without a known certificate is told. */
  refused: { stage: StageResult['stage']; codes: ErrorCode[] };
}

/**
 * Stores material and connection through the API and proves them: deployed, tested, used; refused
 * without the client certificate; not trusting another authority.
 */
export async function proveMutualTls(
  t: TestContext,
  site: MutualTlsSite,
  name: string,
  proof: MutualTlsCase,
) {
  const { ok } = site;
  const store = async (as: string, file: StoredFile) => {
    await ok('POST', `${base}/keystores/${as}/`, { keyStoreEnvironmentList: [file] });
    return as;
  };
  const trustBy = proof.trust
    ? (which: 'root' | 'stranger') => proof.trust!(which, site)
    : async (which: 'root' | 'stranger') => ({
        trustStoreName: await store(`${name}-${which}`, await site.truststore(proof.truststore, which)),
      });
  const keyOf = proof.key
    ? (identity: Identity) => proof.key!(identity, site)
    : async (identity: Identity) => ({
        keyStoreName: await store(`${name}-key-${identity}`, await site.keystore(proof.keystore, identity)),
      });
  const bare = { ...proof.body, ...(await trustBy('root')), name };
  const body = { ...bare, ...(await keyOf('client')) };
  const path = `${base}/connections/${name}/`;
  const stagesOf = async (asked: Record<string, unknown>) => {
    const answer = await ok('POST', `${base}/connection-test/?timeoutMs=25000`, asked);
    return { success: answer.success as boolean, stages: answer.results[0].stages as StageResult[] };
  };

  await t.test(`${name}: deployed, tested and used (${proof.keystore}, ${proof.truststore})`, async () => {
    const created = await ok('POST', path, body);
    assert.equal(created.deploymentResult?.success, true, JSON.stringify(created));
    const tested = await ok('POST', `${path}test/?timeoutMs=25000`);
    assert.equal(tested.success, true, JSON.stringify(tested));
    const tls = (tested.results[0].stages as StageResult[]).find(({ stage }) => stage === 'tls');
    assert.equal(tls?.status, 'passed');
    assert.match(tls?.detail ?? '', /TLSv1\.[23].*localhost/);
    assert.doesNotMatch(tls?.detail ?? '', /NOT verified/);
    const used = await ok('POST', `${path}operations/${proof.operation}/`, proof.input);
    assert.equal(used.success, true, JSON.stringify(used));
  });

  await t.test(`${name}: refused without a certificate that the server knows`, async () => {
    const asked = proof.without === 'stranger' ? { ...bare, ...(await keyOf('stranger')) } : bare;
    const { success, stages } = await stagesOf(asked);
    assert.equal(success, false, JSON.stringify(stages));
    const failed = stages.find(({ status }) => status === 'failed');
    assert.equal(failed?.stage, proof.refused.stage, JSON.stringify(stages));
    assert.ok(proof.refused.codes.includes(failed.code as ErrorCode), JSON.stringify(failed));
    assert.ok(failed.code! in ERRORS && failed.code !== 'internal_error');
  });

  await t.test(`${name}: a truststore of another authority does not trust the server`, async () => {
    const { trustStoreName: _, ...rest } = body as Record<string, unknown>;
    const { stages } = await stagesOf({ ...rest, ...(await trustBy('stranger')) });
    const failed = stages.find(({ status }) => status === 'failed');
    assert.equal(failed?.stage, 'tls', JSON.stringify(stages));
    assert.equal(failed.code, 'certificate_untrusted', JSON.stringify(failed));
  });
}
