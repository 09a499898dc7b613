import { createSocket } from 'node:dgram';
import type { DatagramSender } from '../connectors/connector.ts';
import { AppError } from '../errors.ts';
import { formatAddress, type IpAddress } from './address.ts';

/** More than UDP over IPv4 can carry: 65,535 less the headers of IP and UDP. */
const maxDatagramBytes = 65_507;

export interface DatagramOptions {
  /** The target as errors name it. */
  where: string;
  sendBufferBytes?: number | undefined;
  /** The socket is connected, so that only the address itself is heard. */
  onMessage?: ((bytes: Buffer) => void) | undefined;
  onFailure?: ((failure: AppError) => void) | undefined;
}

/**
 * A UDP socket that is connected to the address, so that a refusal (ICMP port unreachable) comes back
 * to it. Rejects with the system's error, such as ENETUNREACH.
 */
export async function openDatagram(
  address: IpAddress,
  port: number,
  { where, sendBufferBytes, onMessage, onFailure }: DatagramOptions,
): Promise<DatagramSender> {
  const socket = createSocket({
    type: address.family === 6 ? 'udp6' : 'udp4',
    ...(sendBufferBytes === undefined ? {} : { sendBufferSize: sendBufferBytes }),
  });
  let failure: AppError | undefined;
  let isClosed = false;
  const close = () => {
    if (isClosed) return;
    isClosed = true;
    socket.close();
  };
  // Also a refusal of an earlier datagram arrives here; it must not be out of band.
  socket.on('error', (error) => {
    failure = sendError(error, where);
    onFailure?.(failure);
  });
  if (onMessage) socket.on('message', (bytes) => onMessage(bytes));
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.connect(port, formatAddress(address), () => {
      socket.off('error', reject);
      resolve();
    });
  }).catch((error: unknown) => {
    close();
    throw error;
  });

  return {
    get failure() {
      return failure;
    },
    async send(bytes) {
      if (isClosed) throw new AppError('cancelled', 'The socket was closed');
      if (bytes.length > maxDatagramBytes)
        throw new AppError('message_too_large', `A datagram holds at most ${maxDatagramBytes} bytes`);
      if (failure) {
        const reported = failure;
        failure = undefined;
        throw reported;
      }
      await new Promise<void>((resolve, reject) => {
        socket.send(bytes, (error) => (error ? reject(sendError(error, where)) : resolve()));
      });
    },
    close,
  };
}

const codes: Record<string, { code: AppError['code']; said: string }> = {
  ECONNREFUSED: { code: 'connection_refused', said: 'refused a datagram: nothing listens on the port' },
  EMSGSIZE: { code: 'message_too_large', said: 'cannot be sent a datagram of this size' },
  ENOBUFS: { code: 'target_busy', said: 'cannot be sent to: the network buffers are full' },
};

function sendError(error: Error & { code?: unknown }, where: string): AppError {
  const { code, said } = codes[String(error.code)] ?? {
    code: 'host_unreachable' as const,
    said: 'cannot be reached',
  };
  return new AppError(code, `${where} ${said}`, { cause: error });
}
