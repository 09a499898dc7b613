import { hash } from 'node:crypto';
import { matchesGlob } from '../contract/glob.ts';
import { foldName } from '../contract/validation.ts';
import type { UsageToken } from '../contract/worker-protocol.ts';
import { Crowd, type CrowdMember } from '../crowd.ts';
import { AppError } from '../errors.ts';
import { Life } from '../life.ts';

/** What a request wants to use. */
export type UseTarget = Readonly<Record<'project' | 'connection' | 'operation', string>>;

/** Who may use what, as far as it has been decided. */
export interface Permit {
  readonly token: UsageToken;
  readonly target: UseTarget;
}

const maxTimerMs = 2 ** 31 - 1;
const maxKnownHeaders = 1000;

/**
 * Decides by the hashes of tokens that the control plane sent, so that it works without it; what runs
 * for a token that ends is aborted.
 */
export class UsageTokens {
  readonly #byHash = new Map<string, UsageToken>();
  /** By the Authorization header, of those that were found by it: a hash for each request costs more than looking it up. */
  readonly #byHeader = new Map<string, UsageToken>();
  readonly #running = new Crowd<RunningUse>();

  /** Takes the place of all that were known. */
  learn(tokens: readonly UsageToken[]): void {
    this.#byHash.clear();
    this.#byHeader.clear();
    for (const token of tokens) this.#byHash.set(token.hash, token);
    for (const use of this.#running) if (!this.#mayStill(use.permit)) use.end(invalidToken());
  }

  /** Fails with `unauthorized_client`, `not_found` for a project that the token does not see, or `forbidden`. */
  authorize(header: string | undefined, target: UseTarget): Permit {
    const known = header === undefined ? undefined : this.#byHeader.get(header);
    const token = known ?? this.#authenticate(header);
    if (known && !isCurrent(known)) throw invalidToken();
    if (!known && this.#byHeader.size < maxKnownHeaders) this.#byHeader.set(header!, token);
    const { project, connection, operation } = target;
    if (!token.grants.some((grant) => grant.project === project))
      throw new AppError('not_found', `Project '${project}' not found`);
    if (!mayUse(token, project, connection, operation))
      throw new AppError(
        'forbidden',
        `The token lacks the permission CONNECTIONS:USE in project '${project}'`,
      );
    return { token, target };
  }

  /** Counts a use as running until it is `done`; fails when the token has ended since it was authorised. */
  begin(permit: Permit): RunningUse {
    if (this.#byHash.get(permit.token.hash) !== permit.token && !this.#mayStill(permit)) throw invalidToken();
    const use = new RunningUse(permit, this.#running);
    this.#running.add(use);
    return use;
  }

  /** Aborts whatever runs. */
  abortAll(reason: AppError): void {
    for (const use of this.#running) use.end(reason);
  }

  #mayStill({ token: { hash: key }, target }: Permit): boolean {
    const token = this.#byHash.get(key);
    return (
      token !== undefined &&
      isCurrent(token) &&
      mayUse(token, target.project, target.connection, target.operation)
    );
  }

  /** Every reason is the same answer, so that none can be told from another. */
  #authenticate(header: string | undefined): UsageToken {
    const credential = /^bearer +([\x21-\x7e]{1,512}) *$/i.exec(header ?? '')?.[1];
    const token = this.#byHash.get(hash('sha256', credential ?? '', 'base64url'));
    if (credential === undefined || !token || !isCurrent(token)) throw invalidToken();
    return token;
  }
}

/** A use that runs; it ends early when its token expires or is revoked, and when whoever asked is gone. */
export class RunningUse extends Life implements CrowdMember {
  place = 0;
  readonly permit: Permit;
  readonly #all: Crowd<RunningUse>;
  readonly #expiry: NodeJS.Timeout | undefined;

  constructor(permit: Permit, all: Crowd<RunningUse>) {
    super();
    this.permit = permit;
    this.#all = all;
    const { expiresAt } = permit.token;
    if (expiresAt !== null)
      this.#expiry = setTimeout(
        () => this.end(invalidToken()),
        Math.min(maxTimerMs, Math.max(0, expiresAt - Date.now())),
      );
  }

  /** It is answered. */
  done(): void {
    clearTimeout(this.#expiry);
    this.#all.delete(this);
  }
}

function invalidToken(): AppError {
  return new AppError('unauthorized_client', 'Invalid token');
}

function isCurrent({ expiresAt }: UsageToken): boolean {
  return expiresAt === null || expiresAt > Date.now();
}

function mayUse({ grants }: UsageToken, project: string, connection: string, operation: string): boolean {
  const name = foldName(connection);
  return grants.some(
    (grant) =>
      grant.project === project &&
      (grant.connections === undefined ||
        grant.connections.some((glob) => matchesGlob(foldName(glob), name))) &&
      (grant.operations === undefined || grant.operations.includes(operation)),
  );
}
