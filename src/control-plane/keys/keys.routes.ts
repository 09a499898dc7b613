import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { Referrers } from '../connections/referrers.ts';
import { descriptionField, nullableText } from '../server/field-schemas.ts';
import { type NamedObjects, namedObjectRoutes } from '../server/named-object.routes.ts';
import { certificateFields } from './certificate-view.ts';
import type { CertificateInput, StoredCertificateView } from './certificates.service.ts';
import type { KeystoreInput, KeystoreView } from './keystores.service.ts';

const nullable = (maxLength: number, description: string) =>
  Type.Optional(
    Type.Unsafe<string | null>({
      type: ['string', 'null'],
      maxLength,
      pattern: '^[^\\u0000]*$',
      description,
    }),
  );
const name = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 255,
    pattern: '^[\\p{L}\\p{Nd}][\\p{L}\\p{M}\\p{Nd} ._-]*$',
    description: 'The name by which connections refer to it; matched exactly.',
  }),
);
const keystoreType = Type.Optional(
  Type.Unsafe<'JKS' | 'PKCS12' | 'PEM' | null>({ enum: ['JKS', 'PKCS12', 'PEM', null] }),
);

const keystoreBody = Type.Object(
  {
    name,
    description: Type.Optional(descriptionField),
    keyStoreEnvironmentList: Type.Optional(
      Type.Unsafe<KeystoreInput['keyStoreEnvironmentList']>({
        type: ['array', 'null'],
        maxItems: 100,
        items: Type.Object(
          {
            environmentName: Type.String({ minLength: 1, maxLength: 255 }),
            type: keystoreType,
            keyStoreType: keystoreType,
            file: nullable(2_000_000, 'The file in base64, at most 1 MiB; null keeps the stored one.'),
            password: nullable(1024, 'Secret; null keeps the stored one, for the same file.'),
            alias: nullable(255, 'Of the key to use; without it the only one, or the first.'),
            entries: Type.Optional(Type.Unknown({ description: 'Read only.' })),
            expiresAt: Type.Optional(Type.Unknown({ description: 'Read only.' })),
          },
          { additionalProperties: false },
        ),
      }),
    ),
  },
  { additionalProperties: false },
);

const keystoreView = Type.Object({
  name: Type.String(),
  description: nullableText,
  keyStoreEnvironmentList: Type.Array(
    Type.Object({
      environmentName: Type.String(),
      type: Type.String(),
      alias: nullableText,
      file: Type.Null(),
      password: Type.Null(),
      entries: Type.Array(
        Type.Object({
          alias: Type.String(),
          kind: Type.String({ description: 'key: with its certificate; certificate: a trusted one' }),
          ...certificateFields,
        }),
      ),
      expiresAt: nullableText,
    }),
  ),
});

const certificateBody = Type.Object(
  {
    name,
    description: Type.Optional(descriptionField),
    alias: nullable(255, 'For people.'),
    environmentList: Type.Optional(
      Type.Unsafe<string[] | null>({
        type: ['array', 'null'],
        maxItems: 100,
        items: { type: 'string', minLength: 1, maxLength: 255 },
        description: 'Where it is; empty: everywhere.',
      }),
    ),
    pemEncodedFile: nullable(1_048_576, 'One or more certificates in PEM form; null keeps the stored ones.'),
    certificates: Type.Optional(Type.Unknown({ description: 'Read only.' })),
    expiresAt: Type.Optional(Type.Unknown({ description: 'Read only.' })),
  },
  { additionalProperties: false },
);

const certificateView = Type.Object({
  name: Type.String(),
  description: nullableText,
  alias: nullableText,
  environmentList: Type.Array(Type.String()),
  pemEncodedFile: Type.String(),
  certificates: Type.Array(Type.Object(certificateFields)),
  expiresAt: nullableText,
});

/** Several files of 1 MiB in base64. */
const maxKeystoreBodyBytes = 8 * 1024 * 1024;
const maxCertificateBodyBytes = 2 * 1024 * 1024;

/** Everything under `/apiops/projects/{project}/keystores/` and `…/certificates/`. */
export function keyRoutes(
  app: FastifyInstance,
  services: {
    keystores: NamedObjects<KeystoreInput, KeystoreView>;
    certificates: NamedObjects<CertificateInput, StoredCertificateView>;
    referrers: Referrers;
    deployTimeoutMs: number;
  },
): void {
  const { keystores, certificates, referrers, deployTimeoutMs } = services;
  const permissions = { view: 'KEYS:VIEW', manage: 'KEYS:MANAGE' } as const;
  namedObjectRoutes(app, {
    path: 'keystores',
    title: 'keystore',
    permissions,
    objects: keystores,
    body: keystoreBody,
    view: keystoreView,
    bodyLimit: maxKeystoreBodyBytes,
    referrers,
    deployTimeoutMs,
  });
  namedObjectRoutes(app, {
    path: 'certificates',
    title: 'certificate',
    permissions,
    objects: certificates,
    body: certificateBody,
    view: certificateView,
    bodyLimit: maxCertificateBodyBytes,
    multipart: certificateOfForm,
    referrers,
    deployTimeoutMs,
  });
}

/** Takes the names of the source system's form, and lists written as text. */
function certificateOfForm(fields: Record<string, unknown>): Record<string, unknown> {
  const { certificateName, certificateDescription, environmentList, ...rest } = fields;
  return {
    ...(certificateName === undefined ? {} : { name: certificateName }),
    ...(certificateDescription === undefined ? {} : { description: certificateDescription }),
    ...rest,
    ...(environmentList === undefined
      ? {}
      : {
          environmentList:
            typeof environmentList === 'string'
              ? environmentList
                  .split(',')
                  .map((one) => one.replace(/^[\s["']+|[\s\]"']+$/g, ''))
                  .filter((one) => one !== '')
              : environmentList,
        }),
  };
}
