/** Where a control plane takes the WebSocket of its workers. */
export const WORKER_STREAM_PATH = '/apiops/worker-stream/';

/** An ordered stream of text frames between a control plane and one worker. */
export interface Channel {
  /** Queues one frame; silently dropped once the channel is closed. */
  send(text: string): void;
  /** Sets the receiver; frames that came before it was set are delivered first. */
  onMessage(receive: (text: string) => void): void;
  /** Called once, also when it is set after the end. */
  onClose(closed: (code: number, reason: string) => void): void;
  /** Ends both directions; default code 1000. */
  close(code?: number, reason?: string): void;
}

/** Two connected channels in memory: each delivers in order and never inside the sender's call. */
export function createChannelPair(): [Channel, Channel] {
  const left = createEnd();
  const right = createEnd();
  left.peer = right;
  right.peer = left;
  return [left.channel, right.channel];
}

interface End {
  peer: End | undefined;
  channel: Channel;
  deliver(text: string): void;
  end(code: number, reason: string): void;
}

function createEnd(): End {
  const inbox: string[] = [];
  let receive: ((text: string) => void) | undefined;
  let closed: ((code: number, reason: string) => void) | undefined;
  let ended: { code: number; reason: string } | undefined;
  let ending = false;

  const drain = () => {
    while (receive && inbox.length > 0 && !ended) receive(inbox.shift()!);
  };

  const end: End = {
    peer: undefined,
    deliver(text) {
      queueMicrotask(() => {
        if (ended) return;
        inbox.push(text);
        drain();
      });
    },
    end(code, reason) {
      ending = true;
      queueMicrotask(() => {
        if (ended) return;
        ended = { code, reason };
        closed?.(code, reason);
      });
    },
    channel: {
      send(text) {
        if (!ending) end.peer!.deliver(text);
      },
      onMessage(listener) {
        receive = listener;
        queueMicrotask(drain);
      },
      onClose(listener) {
        closed = listener;
        if (ended) {
          const { code, reason } = ended;
          queueMicrotask(() => listener(code, reason));
        }
      },
      close(code = 1000, reason = '') {
        if (ending) return;
        end.end(code, reason);
        end.peer!.end(code, reason);
      },
    },
  };
  return end;
}
