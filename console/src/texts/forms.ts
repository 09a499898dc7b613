/** What dialogs with fields, filtered lists and changes of named objects say. */
export const forms = {
  markedFields: 'Not saved: see the marked fields.',
  filter: (things: string) => `Filter ${things}`,
  nothingMatches: 'Nothing matches.',
  changedMeanwhile:
    'Somebody else changed it while you edited. Close this dialog and open it again to see how it is now.',
  saved: (name: string) => `${name} is saved`,
  noReferrers: 'No connection that is deployed refers to it.',
  redeployed: (connections: readonly string[]) =>
    connections.length === 1
      ? `The connection ${connections[0]} refers to it and was deployed again.`
      : `${connections.length} connections refer to it and were deployed again: ${connections.slice(0, 20).join(', ')}${connections.length > 20 ? ' …' : ''}`,
  inEnvironment: (environment: string, message: string) => `${environment}: ${message}`,
};

export const urgency = {
  ended: 'ended',
  soon: 'ends soon',
  valid: 'valid',
};
