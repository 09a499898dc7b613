/** The seed's e-mail connection; `{n}` becomes its number. Its target refuses at once, so that no proof lasts. */
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

export const connectionsPath = '/apiops/projects/Bench/connections/';
export const connectionPath = `${connectionsPath}connection-{n}/`;
