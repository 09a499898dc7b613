/** The seed's e-mail connection; `{n}` becomes its number. Nothing listens at its port. */
export function emailBody(options: { deployed: boolean; name?: string }): Record<string, unknown> {
  return {
    type: 'email',
    name: options.name ?? 'connection-{n}',
    description: 'Email connection for sending notifications',
    deployToWorker: options.deployed,
    enabled: true,
    host: '127.0.0.1',
    port: 9,
    enableStartTls: true,
    auth: true,
    username: 'user@example.com',
    password: 'app-password-{n}',
    defaultEncoding: 'UTF-8',
    from: 'noreply@example.com',
  };
}

/** A webhook with a secret, at a target that is there: the worker proves it by connecting. */
export function webhookBody(target: string): Record<string, unknown> {
  return {
    type: 'webhook',
    name: 'connection-{n}',
    description: 'Tells the team of a new order',
    deployToWorker: true,
    enabled: true,
    fullUrl: `${target}hooks/{n}`,
    signingSecret: 'app-secret-{n}',
    retries: 2,
  };
}

export const connectionsPath = '/apiops/projects/Bench/connections/';
export const connectionPath = `${connectionsPath}connection-{n}/`;
