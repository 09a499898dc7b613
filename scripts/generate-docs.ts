import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { referencePages } from '../src/connectors/reference-pages.ts';

const directory = join(import.meta.dirname, '..', 'docs', 'reference');
await mkdir(directory, { recursive: true });
for (const [name, page] of referencePages()) await writeFile(join(directory, name), page);
