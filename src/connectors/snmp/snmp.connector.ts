import { createHash, randomInt } from 'node:crypto';
import { AppError } from '../../errors.ts';
import { abortError, type ConnectorContext, type DatagramSender, defineConnector } from '../connector.ts';
import { isOid, type NotifyInput, notificationPdu, type SnmpConfig } from './notification.ts';
import { parseConnectionString, snmp } from './snmp.definition.ts';
import { openChannel, type SnmpChannel, type SnmpTarget } from './snmp-channel.ts';
import {
  decodeCommunityAnswer,
  decodeSecureAnswer,
  encodeCommunityMessage,
  encodePdu,
  encodeSecureMessage,
  pduTags,
  type SecureAnswer,
} from './snmp-message.ts';
import { type EngineClock, localiseKeys, type UsmKeys, type UsmUser } from './usm.ts';

/** The receiver's engine, as INFORMs of V3 need it. */
interface RemoteEngine {
  id: Buffer;
  keys: UsmKeys | undefined;
  clock: EngineClock;
  learntAt: number;
}

interface LiveSnmp {
  readonly config: SnmpConfig;
  readonly target: SnmpTarget;
  readonly user: UsmUser;
  /** Of this connection, for traps of V3. */
  readonly ownEngineId: Buffer;
  ownKeys: UsmKeys | undefined;
  engine: RemoteEngine | undefined;
  sender: { opening: Promise<DatagramSender>; staleAt: number } | undefined;
  /** Aborted by `close`, and with the context of `open`. */
  readonly ended: AbortSignal;
  end(): void;
}

/** A name may lead elsewhere after a while, and nothing in UDP would tell. */
const senderLifeMs = 60_000;
const refusalMs = 200;
/** Start of the time of our engines: it has to grow across restarts and agree between workers (RFC 3414 2.2). */
const engineEpochMs = Date.UTC(2025, 0, 1);
/** 32473 is the enterprise number for examples (RFC 5612); the format is "octets" (RFC 3411, SnmpEngineID). */
const engineIdStart = Buffer.from('80007ed905', 'hex');

/** Sends SNMP notifications: traps as they are, informs until they are acknowledged. */
export const snmpConnector = defineConnector<typeof snmp, LiveSnmp>(snmp, {
  open: (config, ctx) => openLive(config, ctx),

  async prove(live, call) {
    const signal = AbortSignal.any([call.signal, live.ended]);
    if (signal.aborted) throw abortError(signal.reason);
    const { config, target } = live;
    const isAnswered = config.version === 'V3' && config.messageType === 'INFORM';
    if (target.transport === 'udp' && !isAnswered) {
      const reported = (await live.sender?.opening.catch(() => undefined))?.failure;
      if (reported) {
        await closeSender(live);
        throw reported;
      }
      await target.network.resolve(target.host, signal);
      return;
    }
    await withChannel(live, signal, async (channel) => {
      if (isAnswered) live.engine = await discover(live, channel, signal);
    });
  },

  async test(config, stages, ctx) {
    const live = openLive(config, ctx);
    const { target, ended: signal } = live;
    const { host, port, transport } = target;
    let channel: SnmpChannel | undefined;
    try {
      await stages.run('resolve', async (note) => {
        const addresses = await target.network.resolve(host, signal);
        note.detail(`${host} → ${addresses.map(({ address }) => address).join(', ')}`);
      });
      if (transport === 'udp') stages.skip('connect', 'UDP has no connection');
      else
        channel = await stages.run('connect', async (note) => {
          const opened = await openChannel(target, signal);
          note.detail(`${host} port ${port}`);
          return opened;
        });
      stages.skip(
        'tls',
        config.securityLevel === 'AUTH_PRIV' && config.version === 'V3'
          ? 'SNMP encrypts its messages by itself'
          : 'messages are not encrypted: whatever is sent can be read on the way',
      );
      channel ??= await openChannel(target, signal);
      const ready = channel;
      if (config.version !== 'V3')
        stages.skip('authenticate', 'the community is judged by the receiver, which does not tell');
      else if (config.messageType === 'TRAP')
        stages.skip(
          'authenticate',
          `a trap is not answered; the receiver must know the user ${live.user.name} under the engine id 0x${live.ownEngineId.toString('hex')}`,
        );
      else
        await stages.run('authenticate', async (note) => {
          live.engine = await discover(live, ready, signal);
          const { id, keys } = live.engine;
          note.detail(
            `user ${live.user.name} at engine 0x${id.toString('hex')}${keys ? '' : ', not authenticated'}`,
          );
        });
      await stages.run('operate', async (note) => {
        const message = 'plugboard connection test';
        const { acknowledged } = await deliver(live, { message }, ready, signal);
        note.detail(
          acknowledged
            ? `the receiver has acknowledged one notification: ${message}`
            : `one notification was sent: ${message}`,
        );
        if (acknowledged) return;
        if (transport === 'udp') await hearRefusal(ready, signal);
        note.hint(
          'A TRAP is never acknowledged: look at the receiver whether it has arrived, or use INFORM.',
        );
      });
    } finally {
      channel?.close();
      await this.close(live);
    }
  },

  operations: {
    async notify(live, input, call) {
      const signal = AbortSignal.any([call.signal, live.ended]);
      if (signal.aborted) throw abortError(signal.reason);
      const { config, target } = live;
      if (config.messageType === 'TRAP' && target.transport === 'udp') {
        const { bytes, requestId } = trapMessage(live, input);
        await sendDatagram(live, bytes);
        return { messageType: 'TRAP', acknowledged: false, ...(requestId ? { requestId } : {}) };
      }
      return withChannel(live, signal, (channel) => deliver(live, input, channel, signal));
    },
  },

  async close(live) {
    live.end();
    await closeSender(live);
  },

  classify(error) {
    if (error instanceof AppError) return error;
    const { name } = (error ?? {}) as { name?: unknown };
    if (name === 'TimeoutError') return new AppError('target_timeout', undefined, { cause: error });
    if (name === 'AbortError') return new AppError('cancelled', undefined, { cause: error });
    return new AppError('internal_error', undefined, { cause: error });
  },
});

function openLive(config: SnmpConfig, ctx: ConnectorContext): LiveSnmp {
  const address = parseConnectionString(config.connectionString);
  if (!address) throw refused('connectionString', 'must be udp:host/port or tcp:host/port, port 1 to 65535');
  const { pduOidForMessage, pduOidForTime, pduVariableMap } = config;
  if (!isOid(pduOidForMessage)) throw refused('pduOidForMessage', 'is not an OID');
  if (pduOidForTime != null && !isOid(pduOidForTime)) throw refused('pduOidForTime', 'is not an OID');
  for (const oid of Object.keys(pduVariableMap))
    if (!isOid(oid)) throw refused('pduVariableMap', `${oid} is not an OID`);
  const end = new AbortController();
  const onAbort = () => end.abort(abortError(ctx.signal.reason));
  ctx.signal.addEventListener('abort', onAbort, { once: true });
  if (ctx.signal.aborted) onAbort();
  const { project, environment, name } = ctx;
  const identity = createHash('sha256')
    .update(JSON.stringify([project, environment, name]))
    .digest();
  return {
    config,
    target: { ...address, network: ctx.network, timeoutMs: config.timeout },
    user: readUser(config),
    ownEngineId: Buffer.concat([engineIdStart, identity.subarray(0, 12)]),
    ownKeys: undefined,
    engine: undefined,
    sender: undefined,
    ended: end.signal,
    end() {
      ctx.signal.removeEventListener('abort', onAbort);
      end.abort(new AppError('cancelled', 'The connection was closed'));
    },
  };
}

function refused(field: string, why: string): AppError {
  return new AppError('invalid_configuration', `${field}: ${why}`);
}

function readUser(config: SnmpConfig): UsmUser {
  const { securityLevel: level = 'NOAUTH_NOPRIV', version } = config;
  const name = config.securityName ?? config.securityOrCommunityName;
  if (version !== 'V3') return { name };
  if (Buffer.byteLength(name) > 32)
    throw refused(
      config.securityName == null ? 'securityOrCommunityName' : 'securityName',
      'is longer than the 32 octets of a user name in V3',
    );
  if (level === 'NOAUTH_NOPRIV' || level === null) return { name };
  const { usmUserAuthenticationProtocol, authPassphrase, usmUserPrivacyProtocol, privPassphrase } = config;
  if (usmUserAuthenticationProtocol == null || authPassphrase == null)
    throw refused('authPassphrase', `is needed with its protocol for ${level}`);
  const authentication = { protocol: usmUserAuthenticationProtocol, passphrase: authPassphrase };
  if (level === 'AUTH_NOPRIV') return { name, authentication };
  if (usmUserPrivacyProtocol == null || privPassphrase == null)
    throw refused('privPassphrase', `is needed with its protocol for ${level}`);
  return { name, authentication, privacy: { protocol: usmUserPrivacyProtocol, passphrase: privPassphrase } };
}

async function withChannel<T>(
  live: LiveSnmp,
  signal: AbortSignal,
  work: (channel: SnmpChannel) => Promise<T>,
): Promise<T> {
  const channel = await openChannel(live.target, signal);
  try {
    return await work(channel);
  } finally {
    channel.close();
  }
}

interface NotifyResult {
  messageType: string;
  acknowledged: boolean;
  requestId?: number;
}

async function deliver(
  live: LiveSnmp,
  input: NotifyInput,
  channel: SnmpChannel,
  signal: AbortSignal,
): Promise<NotifyResult> {
  if (live.config.messageType === 'INFORM') {
    const requestId = newId();
    const pdu = notificationPdu(live.config, input, requestId);
    if (live.config.version === 'V3') await informSecurely(live, pdu, requestId, channel, signal);
    else await inform(live, pdu, requestId, channel, signal);
    return { messageType: 'INFORM', acknowledged: true, requestId };
  }
  const { bytes, requestId } = trapMessage(live, input);
  await channel.send(bytes);
  await channel.finish(signal);
  return { messageType: 'TRAP', acknowledged: false, ...(requestId ? { requestId } : {}) };
}

function trapMessage(live: LiveSnmp, input: NotifyInput): { bytes: Buffer; requestId: number | undefined } {
  const { config, user, ownEngineId } = live;
  const { version } = config;
  const requestId = newId();
  const pdu = notificationPdu(config, input, requestId);
  if (version !== 'V3') {
    const bytes = encodeCommunityMessage(version, config.securityOrCommunityName, pdu);
    // A trap of V1 has no request id.
    return { bytes, requestId: version === 'V1' ? undefined : requestId };
  }
  live.ownKeys ??= localiseKeys(user, ownEngineId);
  const clock = { boots: 1, time: Math.floor((Date.now() - engineEpochMs) / 1000) };
  const bytes = encodeSecureMessage({
    messageId: newId(),
    engineId: ownEngineId,
    clock,
    userName: user.name,
    keys: live.ownKeys,
    isReportable: false,
    pdu,
  });
  return { bytes, requestId };
}

async function inform(
  live: LiveSnmp,
  pdu: Buffer,
  requestId: number,
  channel: SnmpChannel,
  signal: AbortSignal,
): Promise<void> {
  const { config, target } = live;
  const answer = await withHint(
    'Check the community and that the receiver takes INFORMs: an unknown community is not answered.',
    channel.exchange(encodeCommunityMessage('V2c', config.securityOrCommunityName, pdu), {
      retries: config.retryCount,
      timeoutMs: target.timeoutMs,
      signal,
      read(bytes) {
        const read = decodeCommunityAnswer(bytes);
        return read.requestId === requestId ? read : undefined;
      },
    }),
  );
  checkStatus(answer.errorStatus);
}

async function informSecurely(
  live: LiveSnmp,
  pdu: Buffer,
  requestId: number,
  channel: SnmpChannel,
  signal: AbortSignal,
): Promise<void> {
  for (let isFirst = true; ; isFirst = false) {
    live.engine ??= await discover(live, channel, signal);
    const { engine } = live;
    const answer = await withHint(
      'The receiver knows the user and drops the message: check the privacy protocol and passphrase, and that it takes INFORMs.',
      secureExchange(live, engine, currentClock(engine), pdu, channel, signal),
    );
    if (answer.pduTag === pduTags.response) {
      if (engine.keys && !answer.isAuthenticated)
        throw new AppError('protocol_error', 'The acknowledgement is not authenticated');
      if (answer.requestId !== requestId)
        throw new AppError('protocol_error', 'The acknowledgement belongs to another message');
      checkStatus(answer.errorStatus);
      return;
    }
    const report = reportOf(answer);
    // The receiver was started again or is another one.
    if (isFirst && report === 'notInTimeWindows' && (answer.isAuthenticated || !engine.keys))
      live.engine = { ...engine, clock: answer.clock, learntAt: performance.now() };
    else if (isFirst && report === 'unknownEngineIDs') live.engine = undefined;
    else throw reportError(report, live.user.name);
  }
}

/**
 * Learns the receiver's engine (RFC 3414 4), and with authentication its time, by a request that is out
 * of it: the receiver checks user and digest before the time, and does nothing else with it.
 */
async function discover(live: LiveSnmp, channel: SnmpChannel, signal: AbortSignal): Promise<RemoteEngine> {
  const unknown = { id: Buffer.alloc(0), keys: undefined, clock: { boots: 0, time: 0 }, learntAt: 0 };
  const found = await withHint(
    'Check that the receiver speaks SNMP V3 and takes INFORMs.',
    secureExchange(live, unknown, unknown.clock, encodePdu(pduTags.get, newId(), []), channel, signal),
  );
  if (found.engineId.length < 5) throw new AppError('protocol_error', 'The receiver tells no engine id');
  const isKnown = live.engine?.id.equals(found.engineId) ?? false;
  const keys = isKnown
    ? live.engine!.keys
    : live.user.authentication && localiseKeys(live.user, found.engineId);
  const engine = { id: found.engineId, keys, clock: found.clock, learntAt: performance.now() };
  if (!keys) return engine;
  const synchronised = await secureExchange(
    live,
    engine,
    { boots: 0, time: 0 },
    encodePdu(pduTags.get, newId(), []),
    channel,
    signal,
  );
  const report = synchronised.pduTag === pduTags.report ? reportOf(synchronised) : 'notInTimeWindows';
  if (report !== 'notInTimeWindows') throw reportError(report, live.user.name);
  if (!synchronised.isAuthenticated)
    throw new AppError('protocol_error', 'The receiver tells its time without authentication');
  return { ...engine, clock: synchronised.clock, learntAt: performance.now() };
}

function secureExchange(
  live: LiveSnmp,
  engine: RemoteEngine,
  clock: EngineClock,
  pdu: Buffer,
  channel: SnmpChannel,
  signal: AbortSignal,
): Promise<SecureAnswer> {
  const messageId = newId();
  const bytes = encodeSecureMessage({
    messageId,
    engineId: engine.id,
    clock,
    userName: engine.id.length > 0 ? live.user.name : '',
    keys: engine.keys,
    isReportable: true,
    pdu,
  });
  return channel.exchange(bytes, {
    retries: live.config.retryCount,
    timeoutMs: live.target.timeoutMs,
    signal,
    read(message) {
      const answer = decodeSecureAnswer(message, engine.keys);
      return answer.messageId === messageId ? answer : undefined;
    },
  });
}

function currentClock({ clock, learntAt }: RemoteEngine): EngineClock {
  return { boots: clock.boots, time: clock.time + Math.floor((performance.now() - learntAt) / 1000) };
}

/** Counters of RFC 3414 5 that a report may name. */
const reports = {
  1: 'unsupportedSecLevels',
  2: 'notInTimeWindows',
  3: 'unknownUserNames',
  4: 'unknownEngineIDs',
  5: 'wrongDigests',
  6: 'decryptionErrors',
} as const;
type Report = (typeof reports)[keyof typeof reports] | 'other';

function reportOf({ variables }: SecureAnswer): Report {
  const match = /^1\.3\.6\.1\.6\.3\.15\.1\.1\.([1-6])(\.0)?$/.exec(variables[0] ?? '');
  return match ? reports[Number(match[1]) as keyof typeof reports] : 'other';
}

function reportError(report: Report, userName: string): AppError {
  const said: Partial<Record<Report, string>> = {
    unsupportedSecLevels: `The receiver does not allow the user ${userName} this security level or protocol`,
    unknownUserNames: `The receiver does not know the user ${userName}`,
    wrongDigests: `The receiver has another authentication protocol or passphrase for the user ${userName}`,
    decryptionErrors: `The receiver has another privacy protocol or passphrase for the user ${userName}`,
  };
  const message = said[report];
  if (message) return new AppError('authentication_failed', message);
  return new AppError('request_rejected', `The receiver reports ${report}`);
}

function checkStatus(errorStatus: number): void {
  if (errorStatus !== 0)
    throw new AppError('request_rejected', `The receiver answers with the error status ${errorStatus}`);
}

async function withHint<T>(hint: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'target_timeout' || error.details.hint) throw error;
    throw new AppError(error.code, error.message, { cause: error, details: { hint } });
  }
}

/** Sends over the socket that traps share; a refusal of an earlier one is learnt by the next. */
async function sendDatagram(live: LiveSnmp, bytes: Buffer): Promise<void> {
  const { sender } = live;
  if (sender && performance.now() > sender.staleAt) {
    const reported = (await sender.opening.catch(() => undefined))?.failure;
    if (live.sender === sender) await closeSender(live);
    if (reported) throw reported;
  }
  const { network, host, port } = live.target;
  live.sender ??= {
    opening: network.datagram({ host, port, signal: live.ended }),
    staleAt: performance.now() + senderLifeMs,
  };
  const current = live.sender;
  try {
    await (await current.opening).send(bytes);
  } catch (error) {
    const isTooLarge = error instanceof AppError && error.code === 'message_too_large';
    if (!isTooLarge && live.sender === current) await closeSender(live);
    throw error;
  }
}

async function closeSender(live: LiveSnmp): Promise<void> {
  const { sender } = live;
  live.sender = undefined;
  (await sender?.opening.catch(() => undefined))?.close();
}

/** Waits a moment for a refusal (ICMP) of what was sent. */
async function hearRefusal(channel: SnmpChannel, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const settle = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', settle);
      resolve();
    };
    const timer = setTimeout(settle, refusalMs);
    signal.addEventListener('abort', settle, { once: true });
  });
  if (signal.aborted) throw abortError(signal.reason);
  if (channel.failure) throw channel.failure;
}

/** For a message or a request; never 0. */
function newId(): number {
  return randomInt(1, 2 ** 31 - 1);
}
