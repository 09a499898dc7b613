import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { endWithParent } from './process.ts';

/** What the webhook connections call: reads the request and answers a small object. */
const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    response.end('{"accepted":true}');
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  process.on('message', () => process.send?.({ result: (server.address() as AddressInfo).port }));
  endWithParent();
  process.send?.({ ready: true });
});
