import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { type Figure, meetsTarget } from './figure.ts';
import { root } from './product.ts';
import type { Series } from './statistics.ts';

/** A figure in one line of text. */
export function lineOf(figure: Figure): string {
  const { group, name, unit, product, bare, ratio } = figure;
  const sides = bare ? `${spread(product)} of ${spread(bare)} ${unit}` : `${spread(product)} ${unit}`;
  return [
    `${group} · ${name}: ${ratio === undefined ? '' : `ratio ${number(ratio)}, `}${sides}`,
    verdict(figure),
  ]
    .filter(Boolean)
    .join(', ');
}

/** The page of all figures, in Markdown. */
export async function report(
  figures: readonly Figure[],
  { tookMs, loadBefore }: { tookMs: number; loadBefore: number },
): Promise<string> {
  const fastify = await versionOf('fastify');
  const groups = [...new Set(figures.map(({ group }) => group))];
  const tables = groups.map((group) => {
    const own = figures.filter((figure) => figure.group === group);
    const rows = own.map((figure) => {
      const { name, unit, product, bare, ratio } = figure;
      return `| ${name} | ${ratio === undefined ? '–' : `**${number(ratio)}**`} | ${targetOf(figure)} | ${verdict(figure) || '–'} | ${spread(product)} | ${bare ? spread(bare) : '–'} | ${unit} |`;
    });
    const meanings = own.map(({ name, meaning }) => `- **${name}**: ${meaning}.`);
    return `## ${group}

| measured | ratio | target | | Plugboard | bare | unit |
|---|---|---|---|---|---|---|
${rows.join('\n')}

${meanings.join('\n')}
`;
  });
  return `# Performance

Written by \`npm run bench\`; do not edit it. \`npm run bench -- --quick\` looks in half a minute whether something broke,
\`npm run bench -- reads\` runs one bench alone; neither writes this page.

- Machine: ${availableParallelism()} cores of ${cpus()[0]?.model.trim() || 'an unnamed processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB of memory, Linux ${release()}
- Node ${process.version}, Fastify ${fastify}, SQLite ${process.versions.sqlite}
- ${new Date().toISOString().slice(0, 10)}, commit ${commit()}; the run took ${Math.round(tookMs / 1000)} s
- Load average before the run: ${loadBefore.toFixed(1)}${loadBefore > 0.5 ? '. **Others were using the machine: run it again on a quiet one before you believe it**' : ''}

Only the ratios mean anything: a shared machine swings by a factor of two from minute to minute. Plugboard and the
bare handler therefore take turns, round by round, after a round that warms both up, and the ratio is that of the
medians. Behind each median stand the slowest and the fastest round. Plugboard runs as \`node src/main.ts start\` with
its default settings on SQLite, the bare handler in another process with the same Fastify and Node, the clients in a
third, over loopback and kept-alive connections; every answer is checked. For throughput a ratio above the target is
good, for time one below it.

${tables.join('\n')}`;
}

function spread({ median, least, most, rounds }: Series): string {
  return rounds === 1 || least === most
    ? number(median)
    : `${number(median)} (${number(least)}–${number(most)})`;
}

function number(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en');
  if (Number.isInteger(value)) return String(value);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function targetOf({ target }: Figure): string {
  if (!target) return '–';
  return 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}

function verdict(figure: Figure): string {
  const met = meetsTarget(figure);
  return met === undefined ? '' : met ? 'met' : 'not met';
}

async function versionOf(name: string): Promise<string> {
  const text = await readFile(join(root, 'node_modules', name, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function commit(): string {
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
}
