import type { HostKey } from '../../contract/worker-protocol.ts';

/** Of most connections nothing is ever pinned or seen: they share it. */
const none: ReadonlyMap<string, HostKey> = new Map();

/**
 * The SSH host keys of one connection in one environment: those that the control plane has pinned, and
 * what servers without one showed first.
 */
export class KnownHostKeys {
  readonly #onSighting: ((key: HostKey) => void) | undefined;
  #pinned = none;
  /** What each server showed last and proved to hold. */
  #accepted = none;
  /** What each server showed in place of the key that it has to show. */
  #refused = none;

  /** `onSighting` is called once for each key that the control plane has not pinned; without it nobody learns. */
  constructor(pinned: readonly HostKey[] = [], onSighting?: (key: HostKey) => void) {
    this.#onSighting = onSighting;
    if (pinned.length > 0) this.pin(pinned);
  }

  /** The key that a server (`host:port`) has to show; undefined before the first use. */
  expected(server: string): HostKey | undefined {
    return this.#pinned.get(server) ?? this.#accepted.get(server);
  }

  isPinned(server: string): boolean {
    return this.#pinned.has(server);
  }

  /** A key that is as expected, or the first, and whose possession the server has proven. */
  accept(key: HostKey): void {
    const before = this.#accepted.get(key.server);
    this.#accepted = new Map(this.#accepted).set(key.server, key);
    this.#refused = without(this.#refused, [key.server]);
    if (before?.fingerprint !== key.fingerprint && !this.#pinned.has(key.server)) this.#onSighting?.(key);
  }

  /** A key that is not the expected one. */
  refuse(key: HostKey): void {
    const before = this.#refused.get(key.server);
    this.#refused = new Map(this.#refused).set(key.server, key);
    if (before?.fingerprint !== key.fingerprint) this.#onSighting?.(key);
  }

  /** Takes over what the control plane has pinned; answers whether something else was trusted so far. */
  pin(pinned: readonly HostKey[]): boolean {
    if (pinned.length + this.#pinned.size + this.#accepted.size + this.#refused.size === 0) return false;
    const before = this.#pinned;
    const trusted = [...before.values(), ...this.#accepted.values()];
    this.#pinned = new Map(pinned.map((key) => [key.server, key]));
    // What the control plane has forgotten is a first use again.
    const forgotten = [...before.keys()].filter((server) => !this.#pinned.has(server));
    this.#accepted = without(this.#accepted, forgotten);
    this.#refused = without(this.#refused, forgotten);
    const contradicts = ({ server, fingerprint }: HostKey) => {
      const now = this.#pinned.get(server);
      return now !== undefined && now.fingerprint !== fingerprint;
    };
    const isPinned = ({ server, fingerprint }: HostKey) =>
      this.#pinned.get(server)?.fingerprint === fingerprint;
    this.#accepted = without(this.#accepted, serversOf(this.#accepted, contradicts));
    this.#refused = without(this.#refused, serversOf(this.#refused, isPinned));
    return trusted.some(contradicts);
  }

  /** What was seen and is not pinned, for a control plane that may have missed it. */
  get unconfirmed(): HostKey[] {
    const accepted = [...this.#accepted.values()].filter(({ server }) => !this.#pinned.has(server));
    return [...accepted, ...this.#refused.values()];
  }
}

function serversOf(keys: ReadonlyMap<string, HostKey>, which: (key: HostKey) => boolean): string[] {
  return [...keys.values()].filter(which).map(({ server }) => server);
}

function without(keys: ReadonlyMap<string, HostKey>, servers: readonly string[]): typeof keys {
  if (!servers.some((server) => keys.has(server))) return keys;
  return new Map([...keys].filter(([server]) => !servers.includes(server)));
}
