import type { KeyObject, X509Certificate } from 'node:crypto';
import { publicHalfOf, publicKeyOf } from './private-key.ts';

/** What the formats have in common once they are decrypted. */
export interface Entries {
  keys: { alias: string; key: KeyObject; chain: X509Certificate[] }[];
  trusted: { alias: string; certificate: X509Certificate }[];
}

/** No keystore of the field has more; it bounds the time that one file takes. */
export const maxEntries = 1_000;

const maxChain = 20;

/**
 * Finds the certificate of a key among many, and its issuers as far as they are there. Answers
 * the chain from the key's own certificate upwards; empty when the key has none.
 */
export class ChainFinder {
  readonly #byKey = new Map<string, X509Certificate>();
  readonly #bySubject = new Map<string, X509Certificate[]>();

  constructor(certificates: readonly X509Certificate[]) {
    for (const certificate of certificates) {
      const publicKey = publicKeyOf(certificate);
      if (publicKey !== undefined && !this.#byKey.has(publicKey)) this.#byKey.set(publicKey, certificate);
      const namesakes = this.#bySubject.get(certificate.subject);
      if (namesakes) namesakes.push(certificate);
      else this.#bySubject.set(certificate.subject, [certificate]);
    }
  }

  chainOf(key: KeyObject): X509Certificate[] {
    const leaf = this.#byKey.get(publicHalfOf(key));
    const chain: X509Certificate[] = [];
    for (let next = leaf; next && chain.length < maxChain; next = this.#issuerOf(next, chain))
      chain.push(next);
    return chain;
  }

  #issuerOf(certificate: X509Certificate, chain: readonly X509Certificate[]): X509Certificate | undefined {
    if (certificate.issuer === certificate.subject) return undefined;
    return this.#bySubject
      .get(certificate.issuer)
      ?.slice(0, maxChain)
      .find((candidate) => !chain.includes(candidate) && certificate.checkIssued(candidate));
  }
}
