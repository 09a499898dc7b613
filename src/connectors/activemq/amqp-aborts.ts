import type { Receiver, Session } from 'rhea';

/** What rhea's types leave out of its session. */
interface ReceivingSession extends Session {
  on_transfer(frame: { performative: { aborted?: boolean; more?: boolean } }): void;
  _get_link(frame: unknown): Receiver & { _incomplete?: { settled: boolean } | undefined };
}

/**
 * Lets a session discard a message that the broker breaks off between two frames, as Artemis does when its
 * consumer leaves (AMQP 1.0, 2.6.14 and 2.7.5): rhea would read it as a whole one.
 */
export function discardAborted(session: Session): void {
  const receiving = session as ReceivingSession;
  const onTransfer = receiving.on_transfer.bind(receiving);
  receiving.on_transfer = (frame) => {
    const { performative } = frame;
    if (!performative.aborted) return onTransfer(frame);
    // As if more came, so that it is counted and not read.
    performative.more = true;
    onTransfer(frame);
    const link = receiving._get_link(frame);
    if (link._incomplete) link._incomplete.settled = true;
    link._incomplete = undefined;
  };
}
