import { randomBytes } from 'node:crypto';
import type { AddressInfo, Server } from 'node:net';
import type { Connection } from '../client/plugboard.ts';

/** Something that a connection of the demo leads to, on a port of its own of the loopback address. */
export interface Target {
  /** Bodies of connections, ready to be created. */
  connections: Connection[];
  /** Ends every client and everything it runs. */
  stop(): Promise<void>;
}

/** A page that shows what came in. */
export interface Page {
  title: string;
  url: string;
}

/** What the process of the targets tells the one that started it. */
export interface TargetsReady {
  connections: Connection[];
  pages: Page[];
}

export const host = '127.0.0.1';

/** The one connection that cannot work, so that its test has something to find. */
export const brokenOnPurpose = 'reporting-directory';

/** Passwords live as long as the demo does: whoever does not have them cannot log in to its targets. */
export function newPassword(): string {
  return randomBytes(18).toString('base64url');
}

/** Listens on a free port of the loopback address, and answers the port. */
export function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, () => {
      server.off('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}
