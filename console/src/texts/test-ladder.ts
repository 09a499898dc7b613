export const testLadder = {
  title: 'Test',
  run: 'Run the test',
  again: 'Run again',
  stop: 'Stop',
  stopped: 'Stopped: the workers were told to end it.',
  intro: 'Runs on the workers, where the connection will be used.',
  everywhere: 'All environments and workers',
  only: 'Where',
  statuses: {
    waiting: 'waiting',
    running: 'running …',
    passed: 'passed',
    failed: 'failed',
    skipped: 'not reached',
    stopped: 'stopped',
  },
  progress: (ended: number, all: number) => `${ended} of ${all} workers have ended …`,
  verdict: (working: number, failing: number, unfinished: number) =>
    [
      working > 0 && `works on ${working === 1 ? '1 worker' : `${working} workers`}`,
      failing > 0 && `fails on ${failing === 1 ? '1 worker' : `${failing} workers`}`,
      unfinished > 0 && `not ended on ${unfinished === 1 ? '1 worker' : `${unfinished} workers`}`,
    ]
      .filter(Boolean)
      .join(', ')
      .replace(/^./, (first) => first.toUpperCase()),
  notNeeded: 'not needed',
  works: 'Works',
  fails: 'Does not work',
  retryable: 'May pass when tried again.',
  noTargets: 'No worker is connected in the environments of this connection.',
  on: (worker: string) => `worker ${worker}`,
  duration: (ms: number) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`),
  stages: {
    resolve: 'Resolve',
    connect: 'Connect',
    tls: 'TLS',
    authenticate: 'Authenticate',
    operate: 'Operate',
  },
  stageHelp: {
    resolve: 'Values and the name of the target',
    connect: 'A network connection to it',
    tls: 'Encryption and its certificate',
    authenticate: 'The log-in',
    operate: 'A harmless round trip',
  },
};
