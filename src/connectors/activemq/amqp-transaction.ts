import { setImmediate as nextTurn } from 'node:timers/promises';
import rhea, {
  type Connection,
  type Delivery,
  type EventContext,
  type Sender,
  type Session,
  type Typed,
} from 'rhea';

/** Descriptors of AMQP 1.0, part 4.5 (transactions) and of an outcome of part 3.4; rhea knows the last only. */
const coordinator = 0x30;
const declare = 0x31;
const discharge = 0x32;
const declared = 0x33;
const transactionalState = 0x34;
const accepted = 0x24;

/** Place of the field in a transfer (2.7.5); rhea cannot write it by its name. */
const stateOfTransfer = 7;

/** What rhea's types leave out of its session. */
interface OpenSession extends Session {
  output(frame: Performative, payload?: unknown): void;
  on_attach(frame: { performative: Performative }): void;
  on_disposition(frame: { performative: Performative }): void;
}

interface Performative {
  value: unknown[];
  handle?: number;
  delivery_tag?: unknown;
  target?: Typed | undefined;
  state?: Typed | undefined;
}

/** Settles as `begin` says, or fails when the connection ends. */
export type Settled = <T>(
  begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => void,
) => Promise<T>;

/**
 * An AMQP session of its own and a link to the broker's coordinator: once declared, what is sent over the
 * session and accepted by it happens when it is committed, all or nothing.
 */
export class AmqpTransaction {
  readonly session: Session;
  readonly #coordinator: Sender;
  readonly #settled: Settled;
  #id: Typed | undefined;
  #isDischarged = false;

  constructor(connection: Connection, settled: Settled) {
    this.#settled = settled;
    this.session = connection.create_session();
    this.#teach(this.session as OpenSession);
    this.session.begin();
    this.#coordinator = this.session.open_sender({ autosettle: true });
    // It is attached in the next turn.
    (this.#coordinator as unknown as { local: { attach: Performative } }).local.attach.target = described(
      [],
      coordinator,
    );
  }

  /** Begins it; fails where the broker has no transactions. */
  async declare(): Promise<void> {
    await this.#settled<void>((resolve, reject) => {
      if (this.#coordinator.sendable()) return resolve();
      this.#coordinator.once('sendable', () => resolve());
      this.#coordinator.once('sender_close', () => reject(this.#coordinator.error));
    });
    await this.#tell(described([null], declare));
  }

  /** Accepts a message as a part of it. */
  accept(delivery: Delivery): void {
    delivery.update(true, described([this.#id, described([], accepted)], transactionalState) as never);
  }

  /** Fails when the broker rolled it back instead. */
  commit(): Promise<void> {
    return this.#discharge(false);
  }

  rollback(): Promise<void> {
    return this.#discharge(true);
  }

  /** Ends its session. */
  end(): void {
    this.session.once('session_close', () => this.session.remove());
    this.session.close();
  }

  async #discharge(failed: boolean): Promise<void> {
    if (!this.#id || this.#isDischarged) return;
    this.#isDischarged = true;
    // Of one turn, rhea writes what is accepted after what is sent: too late for the transaction.
    await nextTurn();
    await this.#tell(described([this.#id, failed], discharge));
  }

  #tell(body: Typed): Promise<void> {
    return this.#settled((resolve, reject) => {
      const link = this.#coordinator;
      const delivery = link.send(encodeValue(body), undefined, 0);
      const done = () => {
        link.off('accepted', onAccepted);
        link.off('rejected', onRejected);
      };
      const onAccepted = (context: EventContext) => {
        if (context.delivery !== delivery) return;
        done();
        resolve();
      };
      const onRejected = (context: EventContext) => {
        if (context.delivery !== delivery) return;
        done();
        reject((delivery.remote_state as { error?: unknown } | undefined)?.error);
      };
      link.on('accepted', onAccepted);
      link.on('rejected', onRejected);
      link.once('sender_close', () => reject(link.error));
    });
  }

  /** rhea reads and writes no state of a transaction: it is put on what leaves, and taken off what comes. */
  #teach(session: OpenSession): void {
    const output = session.output.bind(session);
    const onAttach = session.on_attach.bind(session);
    const onDisposition = session.on_disposition.bind(session);
    session.output = (frame, payload) => {
      const isTransfer = 'delivery_tag' in frame;
      if (isTransfer && this.#id && frame.handle !== handleOf(this.#coordinator))
        frame.value[stateOfTransfer] = described([this.#id], transactionalState);
      output(frame, payload);
    };
    session.on_attach = (frame) => {
      const { performative } = frame;
      // Once granted it is of no use; rhea would complain about a target that it does not know.
      if (isDescribed(performative.target, coordinator, 'coordinator')) performative.target = undefined;
      onAttach(frame);
    };
    session.on_disposition = (frame) => {
      const { performative } = frame;
      const { state } = performative;
      if (isDescribed(state, declared, 'declared')) {
        this.#id = fieldsOf(state)[0];
        performative.state = described([], accepted);
      } else if (isDescribed(state, transactionalState, 'transactional-state')) {
        performative.state = fieldsOf(state)[1] ?? described([], accepted);
      }
      onDisposition(frame);
    };
  }
}

function described(fields: readonly unknown[], descriptor: number): Typed {
  return rhea.types.wrap_described(fields, descriptor);
}

/** A message whose body is one described value; rhea's own encoding would lose the descriptor. */
function encodeValue(body: Typed): Buffer {
  const amqpValue = Buffer.from([0x00, 0x53, 0x77]);
  const { Writer } = rhea.types as unknown as {
    Writer: new () => { write(value: Typed): void; toBuffer(): Buffer };
  };
  const writer = new Writer();
  writer.write(body);
  return Buffer.concat([amqpValue, writer.toBuffer()]);
}

function isDescribed(value: Typed | undefined, code: number, name: string): value is Typed {
  const descriptor = (value as { descriptor?: { value: unknown } } | undefined)?.descriptor?.value;
  return descriptor === `amqp:${name}:list` || Number(descriptor) === code;
}

function fieldsOf(value: Typed): Typed[] {
  return (value as unknown as { value: Typed[] }).value;
}

function handleOf(link: Sender): number {
  return (link as unknown as { local: { handle: number } }).local.handle;
}
