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
  /** Resolves when what was sent so far is no longer held here; absent where it is handed over at once. */
  flushed?(): Promise<void>;
  /** Whether the other end takes a frame as long as this; absent: any. One that it does not take ends the stream. */
  takes?(text: string): boolean;
  /** Where both ends are in one process: messages handed over as they are, in order with the frames. */
  readonly direct?: DirectChannel;
}

/** Nobody may change a message once it is sent. */
export interface DirectChannel {
  send(message: object): void;
  onMessage(receive: (message: object) => void): void;
}

/** Hands a message over, or its JSON where the other end is elsewhere. */
export function sendMessage(channel: Channel, message: object): void {
  if (channel.direct) channel.direct.send(message);
  else channel.send(JSON.stringify(message));
}

/**
 * Two connected channels in memory: each delivers in order and never inside the sender's call.
 * Without `direct` every message is a text, as between two processes.
 */
export function createChannelPair({ direct = false } = {}): [Channel, Channel] {
  const left = createEnd(direct);
  const right = createEnd(direct);
  left.peer = right;
  right.peer = left;
  return [left.channel, right.channel];
}

interface End {
  peer: End | undefined;
  channel: Channel;
  deliver(frame: string | object): void;
  end(code: number, reason: string): void;
}

function createEnd(direct: boolean): End {
  const inbox: (string | object)[] = [];
  let receive: ((text: string) => void) | undefined;
  let receiveDirect: ((message: object) => void) | undefined;
  let closed: ((code: number, reason: string) => void) | undefined;
  let ended: { code: number; reason: string } | undefined;
  let ending = false;

  const drain = () => {
    while (receive && inbox.length > 0 && !ended) {
      const frame = inbox.shift()!;
      if (typeof frame === 'string') receive(frame);
      else receiveDirect?.(frame);
    }
  };

  const end: End = {
    peer: undefined,
    deliver(frame) {
      queueMicrotask(() => {
        if (ended) return;
        inbox.push(frame);
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
      ...(direct
        ? {
            direct: {
              send(message) {
                if (!ending) end.peer!.deliver(message);
              },
              onMessage(listener) {
                receiveDirect = listener;
              },
            },
          }
        : {}),
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
