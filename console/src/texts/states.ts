/** How a connection does in one environment. */
export const states = {
  works: { label: 'works', mark: '●', help: 'The last round trip to the target succeeded.' },
  failing: { label: 'failing', mark: '▲', help: 'The target cannot be used from there.' },
  deployed: {
    label: 'deployed',
    mark: '○',
    help: 'Workers hold a client; the target was not contacted yet.',
  },
  refused: { label: 'refused', mark: '✕', help: 'Workers could not build a client from this revision.' },
  pending: { label: 'pending', mark: '…', help: 'Workers have not answered yet.' },
  noWorker: { label: 'no worker', mark: '–', help: 'No worker of this environment is connected.' },
  notDeployed: {
    label: 'not deployed',
    mark: '–',
    help: 'It was undeployed by hand, or does not deploy to workers.',
  },
  disabled: { label: 'disabled', mark: '◌', help: 'It is switched off: nobody can use it.' },
} as const;
