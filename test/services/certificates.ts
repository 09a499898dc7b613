import { generateKeyPairSync, randomBytes } from 'node:crypto';
import forge from 'node-forge';

export interface Certificate {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface Authority {
  readonly caPem: string;
  issue(request: CertificateRequest): Certificate;
  /** An authority that this one has signed; its `caPem` is its own certificate alone. */
  subordinate(commonName: string): Authority;
}

export interface CertificateRequest {
  commonName: string;
  /** DNS names the certificate is for. */
  names?: readonly string[];
  /** IP addresses the certificate is for. */
  ips?: readonly string[];
  /** Valid until yesterday. */
  expired?: boolean;
  /** Default 30. */
  validDays?: number;
  /** For a client instead of a server. */
  client?: boolean;
}

const dayMs = 86_400_000;

/** A certificate authority of one test's own; its certificates are valid from yesterday for 30 days. */
export function createAuthority(commonName = 'Plugboard Test CA'): Authority {
  return authority(commonName);
}

type KeyPair = ReturnType<typeof createKeyPair>;

function authority(commonName: string, signer?: { ca: KeyPair; subject: Name }): Authority {
  const ca = createKeyPair();
  const subject = [{ name: 'commonName', value: commonName }];
  const certificate = createCertificate(ca.publicKey, subject, signer?.subject ?? subject);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ]);
  certificate.sign((signer?.ca ?? ca).privateKey, forge.md.sha256.create());
  const caPem = forge.pki.certificateToPem(certificate);

  return {
    caPem,
    subordinate: (name) => authority(name, { ca, subject }),
    issue({ commonName, names = [], ips = [], expired = false, validDays = 30, client = false }) {
      const pair = createKeyPair();
      const issued = createCertificate(pair.publicKey, [{ name: 'commonName', value: commonName }], subject);
      issued.validity.notAfter = new Date(Date.now() + validDays * dayMs);
      if (expired) {
        issued.validity.notBefore = new Date(Date.now() - 10 * dayMs);
        issued.validity.notAfter = new Date(Date.now() - dayMs);
      }
      const altNames = [...names.map((value) => ({ type: 2, value })), ...ips.map((ip) => ({ type: 7, ip }))];
      issued.setExtensions([
        { name: 'basicConstraints', cA: false, critical: true },
        { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
        { name: 'extKeyUsage', serverAuth: !client, clientAuth: client },
        ...(altNames.length > 0 ? [{ name: 'subjectAltName', altNames }] : []),
      ]);
      issued.sign(ca.privateKey, forge.md.sha256.create());
      return { certPem: forge.pki.certificateToPem(issued), keyPem: pair.keyPem };
    },
  };
}

// Node makes an RSA key in a fraction of the time that plain JavaScript needs.
function createKeyPair() {
  const { privateKey: keyPem, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  return {
    keyPem,
    privateKey: forge.pki.privateKeyFromPem(keyPem),
    publicKey: forge.pki.publicKeyFromPem(publicKey),
  };
}

type Name = { name: string; value: string }[];

function createCertificate(publicKey: forge.pki.PublicKey, subject: Name, issuer: Name) {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = publicKey;
  // The first byte keeps the number positive in DER, without a padding that it forbids.
  certificate.serialNumber = `01${randomBytes(15).toString('hex')}`;
  certificate.validity.notBefore = new Date(Date.now() - dayMs);
  certificate.validity.notAfter = new Date(Date.now() + 30 * dayMs);
  certificate.setSubject(subject);
  certificate.setIssuer(issuer);
  return certificate;
}
