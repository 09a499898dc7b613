import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

/** A script of this directory in a process of its own that answers one message for each it is sent. */
export interface Helper {
  readonly pid: number;
  ask<Answer>(order: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

/** Starts it and waits until it says that it is ready. */
export async function startHelper(file: string, environment: NodeJS.ProcessEnv = {}): Promise<Helper> {
  const child = fork(join(import.meta.dirname, file), [], { env: { ...process.env, ...environment } });
  const answer = () =>
    new Promise<{ result?: unknown; error?: string }>((resolve, reject) => {
      const onExit = (code: number | null) => reject(new Error(`${file} ended with code ${code}`));
      child.once('exit', onExit);
      child.once('message', (message) => {
        child.off('exit', onExit);
        resolve(message as { result?: unknown; error?: string });
      });
    });
  await answer();
  return {
    pid: child.pid!,
    async ask<Answer>(order: unknown) {
      const answered = answer();
      child.send(order as object);
      const { result, error } = await answered;
      if (error !== undefined) throw new Error(`${file}: ${error}`);
      return result as Answer;
    },
    stop: () => ended(child),
  };
}

/** Ends a child and waits for it; one that does not drain in time is killed. */
export function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

/** A helper ends with whoever started it. */
export function endWithParent(): void {
  process.on('disconnect', () => process.exit(0));
}
