import { inflateSync, constants as zlib } from 'node:zlib';
import { OpenWireFormatError, OpenWireReader, OpenWireWriter, type Primitive } from './openwire-data.ts';

/** Version that is spoken: ActiveMQ Classic since 5.4 and Artemis know it. */
export const wireVersion = 9;

const types = {
  wireFormatInfo: 1,
  brokerInfo: 2,
  connectionInfo: 3,
  sessionInfo: 4,
  consumerInfo: 5,
  producerInfo: 6,
  transactionInfo: 7,
  keepAlive: 10,
  shutdown: 11,
  remove: 12,
  connectionError: 16,
  consumerControl: 17,
  connectionControl: 18,
  producerAck: 19,
  dispatch: 21,
  ack: 22,
  message: 23,
  bytesMessage: 24,
  mapMessage: 25,
  objectMessage: 26,
  streamMessage: 27,
  textMessage: 28,
  blobMessage: 29,
  response: 30,
  exceptionResponse: 31,
  dataResponse: 32,
  dataArrayResponse: 33,
  integerResponse: 34,
  queue: 100,
  topic: 101,
  tempQueue: 102,
  tempTopic: 103,
  messageId: 110,
  localTransactionId: 111,
  xaTransactionId: 112,
  connectionId: 120,
  sessionId: 121,
  consumerId: 122,
  producerId: 123,
  brokerId: 124,
} as const;

const magic = Buffer.from('ActiveMQ', 'latin1');
const maxInflatedBytes = 64 * 1024 * 1024;

export interface Destination {
  readonly kind: 'queue' | 'topic' | 'tempQueue' | 'tempTopic';
  readonly name: string;
}

/** Session, consumer or producer of a connection; a consumer and a producer belong to a session. */
export interface ObjectId {
  readonly connection: string;
  readonly session: number | bigint;
  readonly value: number | bigint;
}

export interface MessageId {
  readonly producer: ObjectId;
  readonly producerSequence: bigint;
  readonly brokerSequence: bigint;
}

export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'map'; readonly map: Record<string, Primitive> }
  /** Java objects, streams and what else stays as it came. */
  | { readonly kind: 'other'; readonly bytes: Buffer };

/** A message to be sent. */
export interface OutgoingMessage {
  readonly destination: Destination;
  readonly body: { kind: 'text'; text: string } | { kind: 'bytes'; bytes: Buffer };
  readonly properties: Record<string, Primitive>;
  readonly correlationId?: string | undefined;
  readonly replyTo?: Destination | undefined;
  readonly type?: string | undefined;
  /** 0 to 9. */
  readonly priority: number;
  readonly persistent: boolean;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  /** Milliseconds since 1970; 0: never. */
  readonly expiration: number;
}

/** A message that was dispatched to a consumer. */
export interface IncomingMessage {
  readonly id: MessageId;
  readonly destination: Destination | undefined;
  readonly body: Body;
  readonly properties: Record<string, Primitive>;
  readonly correlationId: string | undefined;
  readonly replyTo: Destination | undefined;
  readonly type: string | undefined;
  readonly priority: number;
  readonly persistent: boolean;
  readonly timestamp: number;
  readonly redeliveryCounter: number;
}

/** The broker's own words: class of the Java exception and its message. */
export interface BrokerException {
  readonly className: string;
  readonly message: string;
}

export type Command =
  | {
      readonly type: 'wireFormatInfo';
      readonly version: number;
      readonly properties: Record<string, Primitive>;
    }
  | { readonly type: 'brokerInfo'; readonly brokerName: string | undefined }
  | { readonly type: 'keepAlive'; readonly commandId: number; readonly responseRequired: boolean }
  | { readonly type: 'shutdown' }
  | { readonly type: 'connectionError'; readonly exception: BrokerException }
  | { readonly type: 'dispatch'; readonly consumer: bigint; readonly message: IncomingMessage | undefined }
  | { readonly type: 'response'; readonly correlationId: number; readonly exception?: BrokerException }
  /** Known, and of no meaning to a client like this. */
  | { readonly type: 'other'; readonly code: number };

/** What a command that may be answered begins with. */
interface Answerable {
  commandId: number;
  responseRequired: boolean;
}

function command(type: number, { commandId, responseRequired }: Answerable): OpenWireWriter {
  return new OpenWireWriter().byte(type).int(commandId).boolean(responseRequired);
}

/** A command with its size before it. */
function framed(writer: OpenWireWriter): Buffer {
  const body = writer.finish();
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeInt32BE(body.length, 0);
  body.copy(frame, 4);
  return frame;
}

/** What this client can do: the loose encoding without caches, so that frames mean the same at any time. */
export function encodeWireFormatInfo(options: { maxInactivityMs: number; maxFrameBytes: number }): Buffer {
  const properties = new OpenWireWriter().map({
    TcpNoDelayEnabled: true,
    SizePrefixDisabled: false,
    CacheEnabled: false,
    CacheSize: 0,
    TightEncodingEnabled: false,
    StackTraceEnabled: false,
    MaxInactivityDuration: BigInt(options.maxInactivityMs),
    MaxInactivityDurationInitalDelay: BigInt(Math.min(options.maxInactivityMs, 10_000)),
    MaxFrameSize: BigInt(options.maxFrameBytes),
    ProviderName: 'Plugboard',
  });
  return framed(
    new OpenWireWriter()
      .byte(types.wireFormatInfo)
      .raw(magic)
      .int(wireVersion)
      .byteSequence(properties.finish()),
  );
}

export function encodeConnectionInfo(
  answerable: Answerable,
  info: {
    connection: string;
    clientId: string;
    username?: string | undefined;
    password?: string | undefined;
  },
): Buffer {
  return framed(
    command(types.connectionInfo, answerable)
      .nested(types.connectionId, (to) => to.string(info.connection))
      .string(info.clientId)
      .string(info.password)
      .string(info.username)
      .boolean(false) // broker path
      .boolean(false) // broker master connector
      .boolean(false) // manageable
      .boolean(true) // client master
      .boolean(false) // fault tolerant
      .boolean(false) // failover reconnect
      .string(undefined), // client ip
  );
}

export function encodeSessionInfo(answerable: Answerable, session: ObjectId): Buffer {
  return framed(
    command(types.sessionInfo, answerable).nested(types.sessionId, (to) => writeSessionId(to, session)),
  );
}

export function encodeProducerInfo(
  answerable: Answerable,
  producer: ObjectId,
  destination: Destination,
): Buffer {
  return framed(
    writeDestination(
      command(types.producerInfo, answerable).nested(types.producerId, (to) => writeProducerId(to, producer)),
      destination,
    )
      .boolean(false) // broker path
      .boolean(false) // dispatch async
      .int(0), // window size: every message is answered
  );
}

export function encodeConsumerInfo(
  answerable: Answerable,
  info: { consumer: ObjectId; destination: Destination; prefetch: number },
): Buffer {
  const writer = command(types.consumerInfo, answerable)
    .nested(types.consumerId, (to) => writeConsumerId(to, info.consumer))
    .boolean(false); // browser
  return framed(
    writeDestination(writer, info.destination)
      .int(info.prefetch)
      .int(0) // maximum pending message limit
      .boolean(true) // dispatch async
      .string(undefined) // selector
      .string(undefined) // subscription name
      .boolean(false) // no local
      .boolean(false) // exclusive
      .boolean(false) // retroactive
      .byte(0) // priority
      .boolean(false) // broker path
      .nested(undefined) // additional predicate
      .boolean(false) // network subscription
      .boolean(false) // optimized acknowledge
      .boolean(false) // no range acks
      .boolean(false), // network consumer path
  );
}

export type TransactionStep = 'begin' | 'commit' | 'rollback';
const transactionSteps: Record<TransactionStep, number> = { begin: 0, commit: 2, rollback: 4 };

export interface TransactionId {
  readonly connection: string;
  readonly value: number;
}

export function encodeTransactionInfo(
  answerable: Answerable,
  transaction: TransactionId,
  step: TransactionStep,
): Buffer {
  const writer = command(types.transactionInfo, answerable).nested(types.connectionId, (to) =>
    to.string(transaction.connection),
  );
  return framed(writeTransactionId(writer, transaction).byte(transactionSteps[step]));
}

export function encodeRemove(
  answerable: Answerable,
  what: 'connection' | 'session' | 'producer' | 'consumer',
  id: ObjectId,
  lastDelivered = 0n,
): Buffer {
  const writer = command(types.remove, answerable);
  if (what === 'connection') writer.nested(types.connectionId, (to) => to.string(id.connection));
  else if (what === 'session') writer.nested(types.sessionId, (to) => writeSessionId(to, id));
  else if (what === 'producer') writer.nested(types.producerId, (to) => writeProducerId(to, id));
  else writer.nested(types.consumerId, (to) => writeConsumerId(to, id));
  return framed(writer.long(lastDelivered));
}

/** Acknowledges the messages of a consumer from the first to the last, in the order of their dispatch. */
export function encodeAck(
  answerable: Answerable,
  ack: {
    destination: Destination;
    transaction?: TransactionId | undefined;
    consumer: ObjectId;
    first: MessageId;
    last: MessageId;
    count: number;
  },
): Buffer {
  const standard = 2;
  const writer = writeDestination(command(types.ack, answerable), ack.destination);
  writeTransactionId(writer, ack.transaction)
    .nested(types.consumerId, (to) => writeConsumerId(to, ack.consumer))
    .byte(standard);
  writeMessageId(writeMessageId(writer, ack.first), ack.last);
  return framed(writer.int(ack.count).boolean(false)); // no poison cause
}

/** Sets the prefetch of a consumer; the broker looks at the queue again. */
export function encodeConsumerControl(
  answerable: Answerable,
  { consumer, destination, prefetch }: { consumer: ObjectId; destination: Destination; prefetch: number },
): Buffer {
  return framed(
    writeDestination(command(types.consumerControl, answerable), destination)
      .boolean(false) // close
      .nested(types.consumerId, (to) => writeConsumerId(to, consumer))
      .int(prefetch)
      .boolean(false) // flush
      .boolean(false) // start
      .boolean(false), // stop
  );
}

export function encodeKeepAlive(answerable: Answerable): Buffer {
  return framed(command(types.keepAlive, answerable));
}

export function encodeShutdown(commandId: number): Buffer {
  return framed(command(types.shutdown, { commandId, responseRequired: false }));
}

/** A text or bytes message; fails with a RangeError on a property name or identifier beyond 65535 bytes. */
export function encodeMessage(
  answerable: Answerable,
  message: OutgoingMessage,
  ids: { producer: ObjectId; sequence: number; transaction?: TransactionId | undefined },
): Buffer {
  const { body } = message;
  const content = body.kind === 'text' ? new OpenWireWriter().longUtf(body.text).finish() : body.bytes;
  const names = Object.keys(message.properties).length;
  const writer = command(body.kind === 'text' ? types.textMessage : types.bytesMessage, answerable);
  writer.nested(types.producerId, (to) => writeProducerId(to, ids.producer));
  writeDestination(writer, message.destination);
  writeTransactionId(writer, ids.transaction).nested(undefined); // original destination
  writeMessageId(writer, {
    producer: ids.producer,
    producerSequence: BigInt(ids.sequence),
    brokerSequence: 0n,
  });
  writer
    .nested(undefined) // original transaction
    .string(undefined) // group
    .int(0)
    .string(message.correlationId)
    .boolean(message.persistent)
    .long(message.expiration)
    .byte(message.priority);
  writeDestination(writer, message.replyTo);
  writer
    .long(message.timestamp)
    .string(message.type)
    .byteSequence(content)
    .byteSequence(names > 0 ? new OpenWireWriter().map(message.properties).finish() : undefined)
    .nested(undefined) // data structure
    .nested(undefined) // target consumer
    .boolean(false) // compressed
    .int(0) // redeliveries
    .boolean(false) // broker path
    .long(0) // arrival
    .string(undefined) // user
    .boolean(false) // received by a bridge
    .boolean(false) // droppable
    .boolean(false) // cluster
    .long(0) // in and out of the broker
    .long(0);
  return framed(writer);
}

function writeSessionId(to: OpenWireWriter, { connection, session }: ObjectId): OpenWireWriter {
  return to.string(connection).long(session);
}

function writeProducerId(to: OpenWireWriter, { connection, session, value }: ObjectId): OpenWireWriter {
  return to.string(connection).long(value).long(session);
}

function writeConsumerId(to: OpenWireWriter, { connection, session, value }: ObjectId): OpenWireWriter {
  return to.string(connection).long(session).long(value);
}

function writeDestination(to: OpenWireWriter, destination: Destination | undefined): OpenWireWriter {
  return to.nested(destination && types[destination.kind], (inner) => inner.string(destination!.name));
}

function writeTransactionId(to: OpenWireWriter, transaction: TransactionId | undefined): OpenWireWriter {
  return to.nested(transaction && types.localTransactionId, (inner) =>
    inner.long(transaction!.value).nested(types.connectionId, (id) => id.string(transaction!.connection)),
  );
}

function writeMessageId(to: OpenWireWriter, id: MessageId): OpenWireWriter {
  return to.nested(types.messageId, (inner) =>
    inner
      .nested(types.producerId, (producer) => writeProducerId(producer, id.producer))
      .long(id.producerSequence)
      .long(id.brokerSequence),
  );
}

/** Reads one command, without its size; fails with `OpenWireFormatError`. */
export function decodeCommand(bytes: Buffer): Command {
  const from = new OpenWireReader(bytes);
  const code = from.byte();
  if (code === types.wireFormatInfo) {
    if (!from.bytes(magic.length).equals(magic))
      throw new OpenWireFormatError('a greeting of something else');
    const version = from.int();
    const properties = from.byteSequence();
    return {
      type: 'wireFormatInfo',
      version,
      properties: properties ? new OpenWireReader(properties).map() : {},
    };
  }
  if (code < types.brokerInfo || code > types.brokerId)
    throw new OpenWireFormatError(`a command of the unknown type ${code}`);
  const commandId = from.int();
  const responseRequired = from.boolean();
  switch (code) {
    case types.brokerInfo: {
      from.nested(() => from.string());
      from.string();
      // Other brokers of a network would follow here; their structure is not needed.
      if (from.boolean()) return { type: 'brokerInfo', brokerName: undefined };
      return { type: 'brokerInfo', brokerName: from.string() };
    }
    case types.keepAlive:
      return { type: 'keepAlive', commandId, responseRequired };
    case types.shutdown:
      return { type: 'shutdown' };
    case types.connectionError:
      return { type: 'connectionError', exception: readException(from) };
    case types.dispatch: {
      const consumer = from.nested(() => readConsumerId(from));
      from.nested((type) => readDestination(from, type));
      const message = from.nested((type) => readMessage(from, type));
      if (!consumer) throw new OpenWireFormatError('a message for nobody');
      return { type: 'dispatch', consumer: BigInt(consumer.value), message };
    }
    case types.response:
    case types.dataResponse:
    case types.dataArrayResponse:
    case types.integerResponse:
      return { type: 'response', correlationId: from.int() };
    case types.exceptionResponse:
      return { type: 'response', correlationId: from.int(), exception: readException(from) };
  }
  return { type: 'other', code };
}

function readException(from: OpenWireReader): BrokerException {
  if (!from.boolean()) return { className: '', message: 'no reason given' };
  const className = from.string() ?? '';
  return { className, message: from.string() ?? '' };
}

function readConsumerId(from: OpenWireReader): ObjectId {
  const connection = from.string() ?? '';
  const session = from.long();
  return { connection, session, value: from.long() };
}

function readProducerId(from: OpenWireReader): ObjectId {
  const connection = from.string() ?? '';
  const value = from.long();
  return { connection, session: from.long(), value };
}

function readDestination(from: OpenWireReader, type: number): Destination {
  const kind = (['queue', 'topic', 'tempQueue', 'tempTopic'] as const).find((each) => types[each] === type);
  if (!kind) throw new OpenWireFormatError(`a destination of the unknown type ${type}`);
  return { kind, name: from.string() ?? '' };
}

function readTransactionId(from: OpenWireReader, type: number): void {
  if (type === types.localTransactionId) {
    from.long();
    from.nested(() => from.string());
  } else if (type === types.xaTransactionId) {
    from.int();
    from.byteSequence();
    from.byteSequence();
  } else throw new OpenWireFormatError(`a transaction of the unknown type ${type}`);
}

function readMessageId(from: OpenWireReader): MessageId {
  const producer = from.nested(() => readProducerId(from)) ?? { connection: '', session: 0n, value: 0n };
  const producerSequence = from.long();
  return { producer, producerSequence, brokerSequence: from.long() };
}

function readMessage(from: OpenWireReader, code: number): IncomingMessage {
  if (code < types.message || code > types.blobMessage)
    throw new OpenWireFormatError(`a message of the unknown type ${code}`);
  from.int(); // command id
  from.boolean(); // response required
  from.nested(() => readProducerId(from));
  const destination = from.nested((type) => readDestination(from, type));
  from.nested((type) => readTransactionId(from, type));
  from.nested((type) => readDestination(from, type));
  const id = from.nested(() => readMessageId(from));
  if (!id) throw new OpenWireFormatError('a message without an identifier');
  from.nested((type) => readTransactionId(from, type));
  from.string(); // group
  from.int();
  const correlationId = from.string();
  const persistent = from.boolean();
  from.long(); // expiration
  const priority = from.byte();
  const replyTo = from.nested((type) => readDestination(from, type));
  const timestamp = Number(from.long());
  const type = from.string();
  const content = from.byteSequence();
  const properties = from.byteSequence();
  // A data structure would be a command of the broker's own, which no consumer of ours asks for.
  if (from.boolean()) throw new OpenWireFormatError('a message of the broker itself');
  from.nested(() => readConsumerId(from));
  const isCompressed = from.boolean();
  return {
    id,
    destination,
    body: readBody(code, content, isCompressed),
    properties: properties ? new OpenWireReader(properties).map() : {},
    correlationId,
    replyTo,
    type,
    priority,
    persistent,
    timestamp,
    redeliveryCounter: from.int(),
  };
}

function readBody(code: number, content: Buffer | undefined, isCompressed: boolean): Body {
  if (code === types.message || content === undefined) {
    if (code === types.textMessage) return { kind: 'text', text: '' };
    return code === types.bytesMessage ? { kind: 'bytes', bytes: Buffer.alloc(0) } : { kind: 'none' };
  }
  if (code === types.bytesMessage) {
    if (!isCompressed) return { kind: 'bytes', bytes: Buffer.from(content) };
    // It begins with the length that it had before; ActiveMQ's own client compresses its whole buffer.
    const length = new OpenWireReader(content).int();
    return { kind: 'bytes', bytes: inflate(content.subarray(4)).subarray(0, Math.max(0, length)) };
  }
  const plain = isCompressed ? inflate(content) : content;
  if (code === types.textMessage) return { kind: 'text', text: new OpenWireReader(plain).longUtf() };
  if (code === types.mapMessage) return { kind: 'map', map: new OpenWireReader(plain).map() };
  return { kind: 'other', bytes: Buffer.from(plain) };
}

function inflate(bytes: Buffer): Buffer {
  try {
    // Artemis flushes what it compresses, and does not end it.
    return inflateSync(bytes, { maxOutputLength: maxInflatedBytes, finishFlush: zlib.Z_SYNC_FLUSH });
  } catch {
    throw new OpenWireFormatError('a compressed body that cannot be opened');
  }
}

/** A message's identifier as ActiveMQ writes it: `ID:host-…:1:1:1`. */
export function formatMessageId({ producer, producerSequence }: MessageId): string {
  return `${producer.connection}:${producer.session}:${producer.value}:${producerSequence}`;
}
