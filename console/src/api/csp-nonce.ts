/** The nonce under which this page may add style sheets; the server puts a new one into each page. */
export const cspNonce = document.querySelector('meta[name="csp-nonce"]')?.getAttribute('content') ?? '';
