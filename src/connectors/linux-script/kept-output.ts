import { StringDecoder } from 'node:string_decoder';

/** Keeps the first `maxBytes` of a stream and drops the rest. */
export class KeptOutput {
  readonly #maxBytes: number;
  readonly #chunks: Buffer[] = [];
  #kept = 0;
  isTruncated = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  add(chunk: Buffer): void {
    const room = this.#maxBytes - this.#kept;
    if (chunk.length > room) this.isTruncated = true;
    if (room <= 0) return;
    const part = chunk.subarray(0, room);
    this.#chunks.push(part);
    this.#kept += part.length;
  }

  /** As UTF-8; a character that the limit cut in two is left out. */
  get text(): string {
    const bytes = Buffer.concat(this.#chunks);
    const decoder = new StringDecoder('utf8');
    return decoder.write(bytes) + (this.isTruncated ? '' : decoder.end());
  }
}

const maxNoiseBytes = 64 * 1024;

/**
 * Standard error without the line that tells the process id; what start-up files of the account print
 * before it is kept.
 */
export class ErrorOutput {
  readonly #marker: Buffer;
  readonly #kept: KeptOutput;
  #waiting: Buffer | undefined = Buffer.alloc(0);
  processId: number | undefined;

  constructor(marker: string, maxBytes: number) {
    this.#marker = Buffer.from(`${marker} `);
    this.#kept = new KeptOutput(maxBytes);
  }

  add(chunk: Buffer): void {
    if (this.#waiting === undefined) {
      this.#kept.add(chunk);
      return;
    }
    const bytes = Buffer.concat([this.#waiting, chunk]);
    this.#waiting = bytes;
    const from = bytes.indexOf(this.#marker);
    const to = from < 0 ? -1 : bytes.indexOf(0x0a, from);
    if (to >= 0) {
      this.processId = Number(bytes.subarray(from + this.#marker.length, to).toString());
      this.#pass(Buffer.concat([bytes.subarray(0, from), bytes.subarray(to + 1)]));
    } else if (bytes.length > maxNoiseBytes) this.#pass(bytes);
  }

  end(): { text: string; isTruncated: boolean } {
    if (this.#waiting !== undefined) this.#pass(this.#waiting);
    return { text: this.#kept.text, isTruncated: this.#kept.isTruncated };
  }

  #pass(bytes: Buffer): void {
    this.#waiting = undefined;
    this.#kept.add(bytes);
  }
}
