import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { base, startMutualTlsSite } from '../harness/mutual-tls.ts';
import { startOrSkip } from '../services/service.ts';

test('a keystore that comes after its connection, and one that is replaced', async (t) => {
  const site = await startOrSkip(t, startMutualTlsSite);
  if (!site) return;
  t.after(() => site[Symbol.asyncDispose]());
  const { app, ok, certificate, caPem } = site;
  const target = createServer(
    { cert: certificate.certPem, key: certificate.keyPem, ca: caPem, requestCert: true },
    (request, response) => {
      response.end((request.socket as TLSSocket).getPeerCertificate().subject.CN);
    },
  );
  target.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    target.close();
    target.closeAllConnections();
  });
  const { port } = target.address() as AddressInfo;
  const hook = `${base}/connections/hook/`;
  const call = async () => {
    const answer = await app.call('POST', `${hook}operations/call/`, { body: 'who am I?' });
    return { status: answer.status, text: answer.text, seen: answer.body.result?.body };
  };
  const deployedTo = async () => (await ok('GET', `${hook}deployments/`)).resultList;

  await t.test('is stored with a warning, refused by name, and taken once it is there', async () => {
    const created = await ok('POST', hook, {
      name: 'hook',
      type: 'webhook',
      httpMethod: 'POST',
      fullUrl: `https://localhost:${port}/`,
      timeout: 20,
      keyStoreName: 'client',
      trustStoreName: 'roots',
    });
    assert.match(created.warnings.join('\n'), /keystore 'client' does not exist/);
    assert.match(created.warnings.join('\n'), /keystore 'roots' does not exist/);
    assert.equal(created.deploymentResult.success, false);
    assert.match(JSON.stringify(created.deploymentResult), /there is no keystore '(client|roots)'/);
    assert.match(JSON.stringify(await deployedTo()), /there is no keystore '(client|roots)'/);
    assert.notEqual((await call()).status, 200);

    const roots = { keyStoreEnvironmentList: [await site.truststore('JKS by keytool')] };
    const half = await ok('POST', `${base}/keystores/roots/`, roots);
    assert.deepEqual(half.redeployedConnections, ['hook']);
    assert.equal(half.deploymentResult.success, false, 'the other one is still missing');
    assert.match(JSON.stringify(half.deploymentResult), /there is no keystore 'client'/);

    const client = { keyStoreEnvironmentList: [await site.keystore('PKCS12 by openssl', 'client')] };
    const whole = await ok('POST', `${base}/keystores/client/`, client);
    assert.deepEqual(whole.redeployedConnections, ['hook']);
    assert.equal(whole.deploymentResult.success, true, JSON.stringify(whole));
    const { status, text, seen } = await call();
    assert.equal(status, 200, text);
    assert.equal(seen, 'plugboard');
  });

  await t.test('replaced, it is used by the next call; the connection is not touched', async () => {
    const before = (await ok('GET', hook)).resultList[0];
    const revisions = (await ok('GET', `${hook}revisions/`)).resultCount;
    const replaced = await ok('PUT', `${base}/keystores/client/`, {
      keyStoreEnvironmentList: [await site.keystore('JKS by keytool', 'ec')],
    });
    assert.deepEqual(replaced.redeployedConnections, ['hook']);
    assert.equal(replaced.deploymentResult.success, true, JSON.stringify(replaced));
    assert.equal((await call()).seen, 'plugboard-ec');
    assert.deepEqual((await ok('GET', hook)).resultList[0], before);
    assert.equal((await ok('GET', `${hook}revisions/`)).resultCount, revisions);
  });

  await t.test('a truststore that is replaced ends the trust, and brings it back', async () => {
    const put = async (which: 'root' | 'stranger') =>
      ok('PUT', `${base}/keystores/roots/`, {
        keyStoreEnvironmentList: [await site.truststore('PKCS12 by keytool', which)],
      });
    assert.equal((await put('stranger')).deploymentResult.success, true);
    const untrusted = await call();
    assert.equal(untrusted.status, 502, untrusted.text);
    assert.match(untrusted.text, /certificate_untrusted/);
    assert.equal((await put('root')).deploymentResult.success, true);
    assert.equal((await call()).seen, 'plugboard-ec');
  });

  await t.test('without a usable key the last good one goes on', async () => {
    const wrong = await app.call('PUT', `${base}/keystores/client/`, {
      keyStoreEnvironmentList: [
        { ...(await site.keystore('PKCS12 by keytool', 'client')), password: 'not the password' },
      ],
    });
    assert.equal(wrong.status, 400, wrong.text);
    assert.equal((await call()).seen, 'plugboard-ec');
    const keyless = await ok('PUT', `${base}/keystores/client/`, {
      keyStoreEnvironmentList: [await site.truststore('PKCS12 by keytool')],
    });
    assert.equal(keyless.deploymentResult.success, false);
    assert.match(JSON.stringify(keyless.deploymentResult), /keystore 'client' holds no private key/);
    assert.equal((await call()).seen, 'plugboard-ec', 'security.md 19');
  });
});
