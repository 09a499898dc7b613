import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { mavenJars } from './maven.ts';
import type { ServerIdentity } from './proof.ts';
import { needProgram } from './service.ts';

/** Version that lines and files are compared with. */
export const logbackVersion = '1.5.18';

export const logback: ServerIdentity = { name: 'Logback', version: async () => logbackVersion };

/** One instruction to the real Logback, as its driver in `logback/LogbackReference.java` reads it. */
export type Instruction = readonly (string | number)[];

export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/**
 * Lets the real Logback follow the instructions, in English and the time zone, and answers the lines that
 * it prints. Throws `ServerMissing` without a JDK, or without Maven where the jars are not there yet.
 */
export async function runLogback(instructions: readonly Instruction[], timeZone: string): Promise<string[]> {
  needProgram('Logback', 'javac');
  const java = needProgram('Logback', 'java');
  const jars = await mavenJars('Logback', [
    { group: 'ch.qos.logback', name: 'logback-classic', version: logbackVersion },
  ]);
  const child = spawn(
    java,
    [
      '-Xmx256m',
      '-Duser.language=en',
      '-Duser.country=US',
      `-Duser.timezone=${timeZone}`,
      '-cp',
      jars.join(delimiter),
      join(import.meta.dirname, 'logback', 'LogbackReference.java'),
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const output: Buffer[] = [];
  let complaints = '';
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    complaints = (complaints + String(chunk)).slice(-4000);
  });
  child.stdin.end(instructions.map((fields) => `${fields.join('\t')}\n`).join(''));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`Logback's driver ended with ${code}: ${complaints}`);
  return Buffer.concat(output).toString().split('\n').slice(0, -1);
}
