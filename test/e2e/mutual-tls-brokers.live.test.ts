import { type TestContext, test } from 'node:test';
import { type MutualTlsSite, proveMutualTls, startMutualTlsSite } from '../harness/mutual-tls.ts';
import { startActiveMq } from '../services/activemq.ts';
import { startKafka } from '../services/kafka.ts';
import { startRabbitMq } from '../services/rabbitmq.ts';
import { startOrSkip } from '../services/service.ts';

test('mutual TLS of brokers', async (t) => {
  const site = await startOrSkip(t, startMutualTlsSite);
  if (!site) return;
  t.after(() => site[Symbol.asyncDispose]());
  for (const [name, prove] of Object.entries(proofs)) await t.test(name, (inner) => prove(inner, site));
});

const proofs: Record<string, (t: TestContext, site: MutualTlsSite) => Promise<void>> = {
  async kafka(t, site) {
    const hasOne = (): never => {
      throw new Error('the broker has its certificate');
    };
    const authority = {
      caPem: site.caPem,
      issue: hasOne,
      subordinate: hasOne,
    };
    const server = await startOrSkip(t, () =>
      startKafka({
        authority,
        certificate: site.certificate,
        settings: { 'ssl.client.auth': 'required', 'listener.name.sasl_ssl.ssl.client.auth': 'required' },
      }),
    );
    if (!server) return;
    t.after(() => server.stop());
    await server.createTopic('mutual');
    const patience = Object.fromEntries(
      Object.entries({
        'max.block.ms': '20000',
        'request.timeout.ms': '20000',
        'delivery.timeout.ms': '60000',
      }).map(([name, value]) => [name, { value, valueType: 'STRING' }]),
    );
    const body = (listener: 'SSL' | 'SASL_SSL') => ({
      type: 'kafka',
      topicName: 'mutual',
      bootstrapServers: `localhost:${server.ports[listener]}`,
      enableSecure: true,
      protocolTypes: ['TLS_1_3', 'TLS_1_2'],
    });
    const input = { messages: [{ value: 'by certificate' }] };
    await proveMutualTls(t, site, 'kafka', {
      body: { ...body('SSL'), propertiesMap: patience },
      keystore: 'PKCS12 by keytool',
      truststore: 'JKS by keytool',
      operation: 'produce',
      input,
      // Without a keystore such a connection is not valid.
      without: 'stranger',
      refused: { stage: 'tls', codes: ['tls_failed'] },
    });
    const { user, password } = server.account;
    const logIn = {
      'sasl.mechanism': { value: 'SCRAM-SHA-512', valueType: 'STRING' },
      'sasl.jaas.config': {
        value: `org.apache.kafka.common.security.scram.ScramLoginModule required username="${user}" password="${password}";`,
        valueType: 'SECRET',
      },
    };
    await proveMutualTls(t, site, 'kafka-sasl', {
      body: {
        ...body('SASL_SSL'),
        propertiesMap: {
          ...patience,
          ...logIn,
          'security.protocol': { value: 'SASL_SSL', valueType: 'STRING' },
        },
      },
      keystore: 'JKS by keytool',
      truststore: 'PEM by openssl',
      operation: 'produce',
      input,
      refused: { stage: 'tls', codes: ['tls_failed'] },
    });
  },

  async rabbitMq(t, site) {
    const server = await startOrSkip(t, () =>
      startRabbitMq({
        certificate: site.certificate,
        caPem: site.caPem,
        configuration: ['ssl_options.verify = verify_peer', 'ssl_options.fail_if_no_peer_cert = true'],
      }),
    );
    if (!server) return;
    t.after(() => server.stop());
    await server.control(
      'eval',
      'rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"mutual">>}, true, false, [], none, <<"test">>).',
    );
    await proveMutualTls(t, site, 'rabbitMq', {
      body: {
        type: 'rabbitMq',
        hostPortList: [{ host: 'localhost', port: server.tlsPort }],
        authenticationEnabled: true,
        connectionFactoryUsername: server.user,
        connectionFactoryPassword: server.password,
        connectionFactoryUseSslProtocol: true,
        channelRoutingKey: 'mutual',
      },
      keystore: 'PKCS12 by openssl',
      truststore: 'PEM by openssl',
      operation: 'publish',
      input: { messages: [{ body: 'by certificate' }] },
      refused: { stage: 'authenticate', codes: ['tls_failed'] },
    });
  },

  async activeMq(t, site) {
    const server = await startOrSkip(t, () =>
      startActiveMq({ certificate: site.certificate, clientCaPem: site.caPem, amqp: true }),
    );
    if (!server) return;
    t.after(() => server.stop());
    const { user, password } = server.account;
    for (const [name, fields] of [
      [
        'activeMq-openwire',
        { activeMqConnectionProtocolType: 'TCP', brokerURL: `ssl://localhost:${server.tlsPort}` },
      ],
      [
        'activeMq-amqp',
        { activeMqConnectionProtocolType: 'AMQP', brokerURL: `amqps://localhost:${server.amqpsPort}` },
      ],
    ] as const)
      await proveMutualTls(t, site, name, {
        body: {
          type: 'activeMq',
          username: user,
          password,
          destinationType: 'QUEUE',
          destinationName: 'mutual',
          ...fields,
        },
        keystore: 'old PKCS12 by openssl',
        truststore: 'JKS by keytool',
        operation: 'send',
        input: { messages: [{ body: 'by certificate' }] },
        refused: { stage: 'authenticate', codes: ['tls_failed'] },
      });
  },
};
