import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContext } from '../../../test/contract/connector-context.ts';
import { startTap } from '../../../test/contract/tap.ts';
import { type ActiveMqService, startActiveMq } from '../../../test/services/activemq.ts';
import { createAuthority } from '../../../test/services/certificates.ts';
import { startOrSkip } from '../../../test/services/service.ts';
import { parseConnection } from '../../contract/validation.ts';
import { activeMqConnector } from './activemq.connector.ts';
import { activeMq } from './activemq.definition.ts';
import type { ActiveMqConfig } from './activemq-settings.ts';

suite('ActiveMQ falls silent', () => {
  let service: ActiveMqService | undefined;

  before(async () => {
    const certificate = createAuthority().issue({ commonName: 'activemq.test', ips: ['127.0.0.1'] });
    service = await startOrSkip({ skip: () => {}, fullName: 'ActiveMQ falls silent' }, () =>
      startActiveMq({ certificate, amqp: true }),
    );
  });
  after(() => service?.stop());

  for (const protocol of ['TCP', 'AMQP'] as const) {
    /** A client that was let in, behind a tap which can fall silent. */
    const open = async (t: TestContext, broker: ActiveMqService, timeouts: Record<string, number>) => {
      const tap = await startTap(t, protocol === 'TCP' ? broker.port : broker.amqpPort);
      const parsed = parseConnection(activeMq, {
        type: 'activeMq',
        name: 'broker',
        activeMqConnectionProtocolType: protocol,
        brokerURL: `${protocol.toLowerCase()}://127.0.0.1:${tap.port}`,
        username: broker.account.user,
        password: broker.account.password,
        destinationType: 'QUEUE',
        destinationName: `silent.${protocol}`,
        ...timeouts,
      });
      assert.ok(parsed.ok, JSON.stringify(parsed));
      const ctx = createContext({ signal: new AbortController().signal });
      const live = await activeMqConnector.open(parsed.config as unknown as ActiveMqConfig, ctx);
      t.after(() => activeMqConnector.close(live));
      const call = { signal: AbortSignal.timeout(60_000) };
      const { send, receive } = activeMqConnector.operations;
      return {
        tap,
        live,
        send: () => send(live, { body: 'x' }, call),
        receive: () => receive(live, { timeoutMs: 100 }, call),
      };
    };

    const needed = (t: TestContext) => service ?? void t.skip('ActiveMQ was NOT exercised');

    test(`${protocol}: sendTimeout ends a send`, async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { tap, send } = await open(t, broker, { sendTimeout: 701 });
      await send();
      tap.mute();
      await assert.rejects(send(), (error) => {
        const { code, message } = activeMqConnector.classify(error);
        assert.deepEqual([code, /in 701 ms/.test(message)], ['target_timeout', true], message);
        return true;
      });
    });

    test(`${protocol}: requestTimeout ends a receive`, async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { tap, send, receive } = await open(t, broker, { requestTimeout: 702 });
      await send();
      tap.mute();
      await assert.rejects(receive(), (error) => {
        const { code, message } = activeMqConnector.classify(error);
        assert.deepEqual([code, /in 702 ms/.test(message)], ['target_timeout', true], message);
        return true;
      });
    });

    test(`${protocol}: closeTimeout ends a close`, async (t) => {
      const broker = needed(t);
      if (!broker) return;
      const { tap, send, live } = await open(t, broker, { closeTimeout: 703 });
      await send();
      tap.mute();
      const stop = new AbortController();
      const outcome = await Promise.race([
        activeMqConnector.close(live).then(() => 'closed'),
        // Much less than the minute of the default.
        sleep(20_000, 'still waiting', { signal: stop.signal }),
      ]);
      stop.abort();
      assert.equal(outcome, 'closed');
    });
  }
});
