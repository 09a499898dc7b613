import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { definitions } from '../src/connectors/definitions.ts';
import type { ConnectionType } from '../src/contract/connection-type.ts';
import { errorsPage, referencePage } from '../src/contract/reference-page.ts';
import { ERRORS } from '../src/errors.ts';

const directory = join(import.meta.dirname, '..', 'docs', 'reference');
await mkdir(directory, { recursive: true });
for (const definition of Object.values(definitions) as unknown as ConnectionType[])
  await writeFile(join(directory, `${definition.type}.md`), referencePage(definition));
await writeFile(join(directory, 'errors.md'), errorsPage(ERRORS));
