import type { WebSocket } from 'ws';
import type { Channel } from './contract/channel.ts';
import { CLOSE_CODES } from './contract/worker-protocol.ts';

/**
 * What one frame may hold, of either side (`maxPayload`), bytes: changes come in frames of 4 MiB or a
 * single connection, but the input of an operation (64 MiB as it is posted) and its result come in one.
 */
export const maxFrameBytes = 256 * 1024 * 1024;

/** RFC 6455 5.5: a control frame carries 125 bytes, two of which are the code. */
const maxReasonBytes = 123;
/** How long a peer has to answer the end of a stream. */
const closeTimeoutMs = 1000;

/**
 * A channel over a WebSocket, of either side. The peer is pinged every `pingIntervalMs` (default 10 s) and
 * cut off (code 1006) when it stays silent for three times as long. What ends without a word of the peer
 * has the code of the error for its reason.
 */
export function createWebSocketChannel(socket: WebSocket, pingIntervalMs = 10_000): Channel {
  const early: string[] = [];
  let receive: ((text: string) => void) | undefined;
  let closed: ((code: number, reason: string) => void) | undefined;
  let ended: { code: number; reason: string } | undefined;
  let heardAt = performance.now();
  let giveUp: NodeJS.Timeout | undefined;
  let failure = '';
  let unsent = 0;
  let flushing: (() => void)[] = [];

  const allFlushed = () => {
    for (const resolve of flushing) resolve();
    flushing = [];
  };
  const written = () => {
    unsent -= 1;
    if (unsent === 0) allFlushed();
  };

  const heard = () => {
    heardAt = performance.now();
  };
  const timer = setInterval(() => {
    if (performance.now() - heardAt > 3 * pingIntervalMs) socket.terminate();
    else if (socket.readyState === socket.OPEN) socket.ping();
  }, pingIntervalMs);
  timer.unref();

  const close = (code: number, reason: string) => {
    socket.close(code, fitting(reason));
    // A peer that is gone would keep the closing handshake open.
    giveUp ??= setTimeout(() => socket.terminate(), closeTimeoutMs).unref();
  };

  socket.on('ping', heard);
  socket.on('pong', heard);
  socket.on('message', (data, isBinary) => {
    heard();
    if (isBinary) return close(CLOSE_CODES.protocol, 'binary frame');
    const text = data.toString();
    if (receive) receive(text);
    else early.push(text);
  });
  // The close event follows every error, but knows nothing of it.
  socket.on('error', (error: NodeJS.ErrnoException) => {
    failure = error.code ?? error.message;
  });
  socket.once('close', (code, reason) => {
    clearInterval(timer);
    clearTimeout(giveUp);
    ended = { code, reason: reason.toString() || failure };
    allFlushed();
    closed?.(ended.code, ended.reason);
  });

  return {
    send(text) {
      if (socket.readyState !== socket.OPEN) return;
      unsent += 1;
      socket.send(text, written);
    },
    onMessage(listener) {
      receive = listener;
      queueMicrotask(() => {
        for (const text of early.splice(0)) listener(text);
      });
    },
    onClose(listener) {
      closed = listener;
      if (ended) {
        const { code, reason } = ended;
        queueMicrotask(() => listener(code, reason));
      }
    },
    close: (code = 1000, reason = '') => close(code, reason),
    flushed: () =>
      unsent === 0 || ended ? Promise.resolve() : new Promise((resolve) => flushing.push(resolve)),
    takes: (text) => text.length * 3 <= maxFrameBytes || Buffer.byteLength(text) <= maxFrameBytes,
  };
}

/** The beginning that a close frame has room for, in whole characters. */
function fitting(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.length <= maxReasonBytes) return reason;
  let end = maxReasonBytes;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}
