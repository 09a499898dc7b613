import type { ConnectionType } from '../contract/connection-type.ts';
import { errorsPage, referencePage } from '../contract/reference-page.ts';
import { ERRORS } from '../errors.ts';
import { connectors } from './connectors.ts';
import { type ConnectionTypeId, definitions } from './definitions.ts';
import { proofs } from './proven.ts';

/** Every page of `docs/reference`, by file name. */
export function referencePages(): Map<string, string> {
  const all = Object.values(definitions) as unknown as ConnectionType[];
  return new Map([
    ...all.map((definition) => [`${definition.type}.md`, referencePage(definition)] as const),
    ['errors.md', errorsPage(ERRORS)],
    ['connectors.md', connectorsPage(all)],
  ]);
}

/** Which types this version connects, and what that was proven against. */
function connectorsPage(all: ConnectionType[]): string {
  const rows = all.map(({ type, title }) => {
    const id = type as ConnectionTypeId;
    const { proven, unproven } = proofs[id];
    const live = connectors[id] === null ? 'stored only' : 'live';
    return `| [${type}](${type}.md) | ${title} | ${live} | ${proven.join('; ') || '–'} | ${unproven.join('; ') || '–'} |`;
  });
  return `# What is connected, and proven against what

Every type is stored, validated, sealed and masked. A type that is *live* is also tested, deployed and used;
a worker refuses the others, saying so. *Proven* names the real servers of the live suites
(\`*.live.test.ts\`), *not proven* what they could not be run against.

| type | | | proven | not proven |
|---|---|---|---|---|
${rows.join('\n')}
`;
}
