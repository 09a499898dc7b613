import type { SecretSources } from './secret-sources.ts';

/** When secret references are looked up again: regularly, and soon after a hint, but never twice at a time. */
export class SecretChecks {
  readonly #secrets: SecretSources;
  readonly #everyMs: number;
  readonly #check: () => Promise<void>;
  readonly #regular: NodeJS.Timeout;
  #previousAt = Date.now();
  #hinted: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isHinted = false;

  constructor(secrets: SecretSources, everyMs: number, check: () => Promise<void>) {
    this.#secrets = secrets;
    this.#everyMs = everyMs;
    this.#check = check;
    this.#regular = setInterval(() => {
      secrets.refresh(this.#previousAt);
      this.#previousAt = Date.now();
      this.#run();
    }, everyMs);
    this.#regular.unref();
    secrets.onChange = () => this.#run();
  }

  /** Within a few seconds, however often it is called. */
  soon(): void {
    this.#hinted ??= setTimeout(
      () => {
        this.#hinted = undefined;
        this.#run();
      },
      Math.min(this.#everyMs, afterHintMs),
    ).unref();
  }

  stop(): void {
    clearInterval(this.#regular);
    clearTimeout(this.#hinted);
    this.#secrets.close();
  }

  #run(): void {
    if (this.#running) {
      this.#isHinted = true;
      return;
    }
    this.#running = this.#check().finally(() => {
      this.#running = undefined;
      if (!this.#isHinted) return;
      this.#isHinted = false;
      this.soon();
    });
  }
}

const afterHintMs = 2_000;
