import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

const iterations = 4096;

/** The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. */
export class ScramServer {
  readonly #password: string;
  readonly #isKnown: boolean;
  #clientFirst = '';
  #serverFirst = '';
  #salt: Buffer = randomBytes(16);

  /** Undefined: nobody is let in, and is told so after the same exchange. */
  constructor(password: string | undefined) {
    this.#password = password ?? '';
    this.#isKnown = password !== undefined;
  }

  get isBegun(): boolean {
    return this.#serverFirst !== '';
  }

  /** Takes the client's first message and answers the server's first. */
  begin(message: string): string {
    this.#clientFirst = message.replace(/^[^,]*,[^,]*,/, '');
    const nonce = /(?:^|,)r=([^,]+)/.exec(this.#clientFirst)?.[1] ?? '';
    this.#serverFirst = `r=${nonce}${randomBytes(18).toString('base64')},s=${this.#salt.toString('base64')},i=${iterations}`;
    return this.#serverFirst;
  }

  /** Takes the client's final message; answers the server's, or undefined when the password is wrong. */
  finish(message: string): string | undefined {
    const [, withoutProof, proof] = /^(.*),p=([^,]+)$/.exec(message) ?? [];
    const nonce = this.#serverFirst.split(',')[0]!;
    if (withoutProof === undefined || !withoutProof.split(',').includes(nonce)) return undefined;
    const exchange = `${this.#clientFirst},${this.#serverFirst},${withoutProof}`;
    const salted = pbkdf2Sync(this.#password, this.#salt, iterations, 32, 'sha256');
    const storedKey = createHash('sha256').update(hmac(salted, 'Client Key')).digest();
    const signature = hmac(storedKey, exchange);
    const given = Buffer.from(proof!, 'base64');
    if (given.length !== signature.length) return undefined;
    const clientKey = given.map((byte, at) => byte ^ signature[at]!);
    const isRight = timingSafeEqual(createHash('sha256').update(clientKey).digest(), storedKey);
    if (!isRight || !this.#isKnown) return undefined;
    return `v=${hmac(hmac(salted, 'Server Key'), exchange).toString('base64')}`;
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
