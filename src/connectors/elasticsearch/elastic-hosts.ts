const firstRestMs = 1000;
const maxRestMs = 30_000;

/** One node, as the rotation knows it. */
export interface ElasticHost {
  readonly url: URL;
  /** Failures in a row. */
  failures: number;
  /** ms of the monotonic clock until which it is left alone. */
  deadUntil: number;
}

/** Goes round the hosts; one that failed rests for a second, twice as long after each further failure, up to half a minute. */
export class HostRotation {
  readonly #hosts: readonly ElasticHost[];
  readonly #now: () => number;
  #next = 0;

  constructor(urls: readonly URL[], now: () => number = () => performance.now()) {
    this.#hosts = urls.map((url) => ({ url, failures: 0, deadUntil: 0 }));
    this.#now = now;
  }

  /** All hosts in the order to try them: those alive in turn, then the dead, the one next to be revived first. */
  order(): ElasticHost[] {
    const now = this.#now();
    const from = this.#next++ % this.#hosts.length;
    const turned = [...this.#hosts.slice(from), ...this.#hosts.slice(0, from)];
    const dead = turned.filter(({ deadUntil }) => deadUntil > now);
    return [
      ...turned.filter(({ deadUntil }) => deadUntil <= now),
      ...dead.toSorted((a, b) => a.deadUntil - b.deadUntil),
    ];
  }

  failed(host: ElasticHost): void {
    host.deadUntil = this.#now() + Math.min(maxRestMs, firstRestMs * 2 ** host.failures);
    host.failures = Math.min(host.failures + 1, 16);
  }

  worked(host: ElasticHost): void {
    host.failures = 0;
    host.deadUntil = 0;
  }

  figures(): { hosts: number; deadHosts: number } {
    const now = this.#now();
    return {
      hosts: this.#hosts.length,
      deadHosts: this.#hosts.filter(({ deadUntil }) => deadUntil > now).length,
    };
  }
}
