import { EventEmitter } from 'node:events';

export interface ConnectedWorker {
  id: string;
  name: string;
  version: string;
  environment: { id: string; name: string };
  /** ms since the epoch. */
  connectedAt: number;
}

/** The workers whose stream ends in this process. Emits `gone` with the worker. */
export class ConnectedWorkers extends EventEmitter<{ come: [ConnectedWorker]; gone: [ConnectedWorker] }> {
  readonly #byEnvironment = new Map<string, Map<string, ConnectedWorker>>();
  /** In order of name; made when asked for, since each verdict of a thousand workers asks. */
  readonly #sorted = new Map<string, readonly ConnectedWorker[]>();

  constructor() {
    super();
    this.setMaxListeners(0);
  }

  add(worker: ConnectedWorker): void {
    const { name } = worker.environment;
    const workers = this.#byEnvironment.get(name) ?? new Map<string, ConnectedWorker>();
    this.#byEnvironment.set(name, workers);
    workers.set(worker.id, worker);
    this.#sorted.delete(name);
    this.emit('come', worker);
  }

  remove(worker: ConnectedWorker): void {
    const workers = this.#byEnvironment.get(worker.environment.name);
    if (workers?.get(worker.id) !== worker) return;
    workers.delete(worker.id);
    this.#sorted.delete(worker.environment.name);
    this.emit('gone', worker);
  }

  /** Workers of an environment by its name, in order of name. */
  of(environment: string): readonly ConnectedWorker[] {
    const known = this.#sorted.get(environment);
    if (known) return known;
    const workers = this.#byEnvironment.get(environment);
    if (!workers) return [];
    const sorted = [...workers.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#sorted.set(environment, sorted);
    return sorted;
  }

  get count(): number {
    return [...this.#byEnvironment.values()].reduce((sum, workers) => sum + workers.size, 0);
  }
}
