export const expiring = {
  title: 'Expiring',
  summary: 'Certificates, keystores and tokens that end soon, or have ended',
  within: 'Within',
  days: (days: number) => `${days} days`,
  none: 'Nothing ends in this time',
  kind: 'What',
  kinds: { certificate: 'certificate', keystore: 'keystore', token: 'token' } as Readonly<
    Record<string, string>
  >,
  name: 'Name',
  project: 'Project',
  environment: 'Environment',
  ends: 'Ends',
};
