import { createServer, type Socket } from 'node:net';

/** A target that repeats what it is told, passwords included, as careless servers do. */
export interface EchoingTarget {
  port: number;
  /** All that it was told. */
  heard(): string;
  close(): Promise<void>;
}

/** Speaks HTTP, SMTP and PostgreSQL just far enough to be given the credentials, and refuses with them. */
export async function startEchoingTarget(): Promise<EchoingTarget> {
  let heard = '';
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    let spoke = false;
    // Who waits to be greeted is a mail client.
    const greeting = setTimeout(() => {
      spoke = true;
      socket.write('220 echo\r\n');
    }, 80);
    socket.on('data', (chunk) => {
      clearTimeout(greeting);
      heard += chunk.toString('latin1');
      if (spoke) answerMail(socket, chunk.toString('latin1'));
      else if (/^[A-Z]+ \S+ HTTP\/1\.1/.test(chunk.toString('latin1'))) answerHttp(socket, chunk);
      else answerPostgres(socket, chunk);
    });
    socket.once('close', () => clearTimeout(greeting));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    heard: () => heard,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answerHttp(socket: Socket, request: Buffer): void {
  const text = request.toString('latin1');
  const body = JSON.stringify({
    said: text,
    again: request.toString('base64'),
    url: encodeURIComponent(text),
  });
  const authorization = /^authorization: (.*)$/im.exec(text)?.[1] ?? 'none';
  socket.end(
    `HTTP/1.1 401 No\r\nX-You-Said: ${authorization}\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
}

function answerMail(socket: Socket, line: string): void {
  if (/^EHLO/i.test(line)) socket.write('250-echo\r\n250 AUTH PLAIN\r\n');
  else if (/^AUTH PLAIN \S/i.test(line)) {
    const given = line.trim().split(' ')[2]!;
    const [, user, password] = Buffer.from(given, 'base64').toString().split('\0');
    socket.write(`535 5.7.8 refused ${user} with ${password} (${given})\r\n`);
  } else if (/^QUIT/i.test(line)) socket.end('221 bye\r\n');
  else socket.write(`500 what is ${line.trim()}\r\n`);
}

function answerPostgres(socket: Socket, chunk: Buffer): void {
  const code = chunk.length >= 8 ? chunk.readUInt32BE(4) : 0;
  if (code === 80877103) socket.write('N');
  else if (code === 196608) socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]));
  else {
    const said = chunk.subarray(5).toString('latin1').replaceAll('\0', '');
    const body = Buffer.from(`SFATAL\0C28P01\0Mpassword authentication failed with "${said}"\0D${said}\0\0`);
    const head = Buffer.alloc(5);
    head.write('E');
    head.writeUInt32BE(body.length + 4, 1);
    socket.end(Buffer.concat([head, body]));
  }
}
