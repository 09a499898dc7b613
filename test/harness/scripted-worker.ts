import { type Channel, createChannelPair } from '../../src/contract/channel.ts';
import type { FromWorker, ToWorker, Verdict } from '../../src/contract/worker-protocol.ts';
import type { Plugboard } from './plugboard.ts';

type Message<Kind extends ToWorker['kind']> = Extract<ToWorker, { kind: Kind }>;

/** The worker's end of a stream, doing what a test tells it to. */
export class ScriptedWorker {
  readonly received: ToWorker[] = [];
  closed: { code: number; reason: string } | undefined;
  readonly #channel: Channel;
  #waiting: (() => void)[] = [];
  #taken = new Set<ToWorker>();

  constructor(plugboard: Plugboard, environment: string) {
    const [ours, theirs] = createChannelPair();
    this.#channel = ours;
    ours.onMessage((text) => {
      this.received.push(JSON.parse(text) as ToWorker);
      for (const wake of this.#waiting.splice(0)) wake();
    });
    ours.onClose((code, reason) => {
      this.closed = { code, reason };
      for (const wake of this.#waiting.splice(0)) wake();
    });
    plugboard.controlPlane.attachEmbedded(theirs, environment);
  }

  /** Says hello and waits for the welcome. */
  static async connect(
    plugboard: Plugboard,
    name: string,
    options: { environment?: string; cursor?: { epoch: string; seq: number } } = {},
  ): Promise<ScriptedWorker> {
    const worker = new ScriptedWorker(plugboard, options.environment ?? 'production');
    const { cursor } = options;
    worker.say({ kind: 'hello', protocol: 1, name, version: 'scripted', ...(cursor ? { cursor } : {}) });
    await worker.next('welcome');
    return worker;
  }

  say(message: FromWorker): void {
    this.#channel.send(JSON.stringify(message));
  }

  sayRaw(text: string): void {
    this.#channel.send(text);
  }

  verdict(verdict: Verdict): void {
    this.say({ kind: 'verdicts', items: [verdict] });
  }

  /** The next message of that kind that no one has taken yet; fails after five seconds. */
  async next<Kind extends ToWorker['kind']>(
    kind: Kind,
    matches: (message: Message<Kind>) => boolean = () => true,
  ): Promise<Message<Kind>> {
    const deadline = Date.now() + 5000;
    for (;;) {
      const found = this.received.find(
        (message) => message.kind === kind && !this.#taken.has(message) && matches(message as Message<Kind>),
      );
      if (found) {
        this.#taken.add(found);
        return found as Message<Kind>;
      }
      const left = deadline - Date.now();
      if (left <= 0)
        throw new Error(
          `no ${kind} came; there came ${this.received.map((message) => message.kind).join(', ')}`,
        );
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** How many messages of that kind came in all. */
  count(kind: ToWorker['kind']): number {
    return this.received.filter((message) => message.kind === kind).length;
  }

  close(): void {
    this.#channel.close();
  }
}
