import type { Receiver, Session } from 'rhea';

interface TransferFrame {
  performative: { aborted?: boolean; more?: boolean; settled?: boolean };
  payload?: Buffer;
}

/** What rhea's types leave out of its session. */
interface ReceivingSession extends Session {
  on_transfer(frame: TransferFrame): void;
  _get_link(frame: unknown): ReceivingLink;
}

type ReceivingLink = Receiver & { _incomplete?: { settled: boolean; remote_settled: boolean } | undefined };

/**
 * Lets a session discard a message that the broker breaks off between two frames, as Artemis does when its
 * consumer leaves (AMQP 1.0, 2.6.14 and 2.7.5): rhea would read it as a whole one.
 */
export function discardAborted(session: Session): void {
  const receiving = session as ReceivingSession;
  const onTransfer = receiving.on_transfer.bind(receiving);
  receiving.on_transfer = (frame) => {
    if (!isBrokenOff(frame, receiving._get_link(frame))) return onTransfer(frame);
    // As if more came, so that it is counted and not read.
    frame.performative.more = true;
    onTransfer(frame);
    const link = receiving._get_link(frame);
    if (link._incomplete) link._incomplete.settled = true;
    link._incomplete = undefined;
  };
}

/**
 * Aborted, or ended by an empty frame that settles what was not settled before: Artemis forgets so what it
 * has not sent the rest of, and keeps the message for the next consumer.
 */
function isBrokenOff({ performative, payload }: TransferFrame, { _incomplete: begun }: ReceivingLink) {
  if (performative.aborted) return true;
  return Boolean(begun && !begun.remote_settled && performative.settled && !performative.more && !payload);
}
