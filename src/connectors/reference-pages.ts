import type { ConnectionType } from '../contract/connection-type.ts';
import { errorsPage, referencePage } from '../contract/reference-page.ts';
import { ERRORS } from '../errors.ts';
import { connectors } from './connectors.ts';
import { type ConnectionTypeId, definitions } from './definitions.ts';
import { proofsOf, unproven } from './proven.ts';

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
    const live = connectors[id] === null ? 'stored only' : 'live';
    const proven = proofsOf(id).map(({ server, version, tests }) => `${server} ${version} (${tests.length})`);
    return `| [${type}](${type}.md) | ${title} | ${live} | ${proven.join('; ') || '–'} | ${unproven[id].join('; ') || '–'} |`;
  });
  const sections = all.flatMap(({ type }) =>
    proofsOf(type as ConnectionTypeId).map(
      ({ server, version, tests }) =>
        `### ${type}: ${server} ${version}\n\n${tests.map((name) => `- ${inline(name)}`).join('\n')}\n`,
    ),
  );
  return `# What is connected, and proven against what

Every type is stored, validated, sealed and masked. A type that is *live* is also tested, deployed and used;
a worker refuses the others, saying so. *Proven* names the real servers of the live suites
(\`*.live.test.ts\`) with the version that was at hand and the number of tests that passed, as the suites
themselves wrote it down (\`npm run docs:proven\`); *not proven* what they could not be run against.

| type | | | proven | not proven |
|---|---|---|---|---|
${rows.join('\n')}

## What was proven

${sections.join('\n')}`;
}

/** The name of a test as one line of text. */
function inline(name: string): string {
  return name.replace(/\s+/g, ' ').replace(/[\\`*_<>|[\]]/g, '\\$&');
}
