import { randomBytes } from 'node:crypto';
import type { Client, ClientChannel } from 'ssh2';
import type { OutputOf } from '../../contract/connection-type.ts';
import { AppError } from '../../errors.ts';
import { abortError } from '../connector.ts';
import { classifySshError } from '../transport/ssh-errors.ts';
import type { SshSession } from '../transport/ssh-session.ts';
import { ErrorOutput, KeptOutput } from './kept-output.ts';
import type { linuxScript, RunInput } from './linux-script.definition.ts';
import { firstLine, killCommand, wrapper } from './remote-shell.ts';

type RunOutput = OutputOf<(typeof linuxScript.operations)['run']>;

export interface RunLimits {
  /** 0: none. */
  timeoutMs: number;
  maxOutputBytes: number;
}

/** How long a killed command may take to be gone before the next way is tried. */
const killPatienceMs = 1000;

/** Runs a command on a session of its own; when time or signal end it first, the remote processes are killed. */
export function runCommand(
  session: SshSession,
  input: RunInput,
  { timeoutMs, maxOutputBytes }: RunLimits,
  signal: AbortSignal,
): Promise<RunOutput> {
  const marker = `plugboard-${randomBytes(12).toString('hex')}`;
  const line = firstLine(input);
  const startedAt = performance.now();
  const output = new KeptOutput(maxOutputBytes);
  const errors = new ErrorOutput(marker, maxOutputBytes);

  return new Promise((resolve, reject) => {
    let channel: ClientChannel | undefined;
    let isSettled = false;
    let exit: { code: number | null; signal: string | null } | undefined;

    const settle = () => {
      isSettled = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      forget();
    };
    const fail = (error: unknown) => {
      if (isSettled) return;
      settle();
      session.destroy();
      reject(error);
    };
    const onAbort = () => {
      if (isSettled) return;
      settle();
      reject(abortError(signal.reason));
      void end(session, channel, errors.processId);
    };
    const onTimeout = async () => {
      if (isSettled) return;
      settle();
      const isGone = await end(session, channel, errors.processId);
      reject(
        new AppError(
          'target_timeout',
          `The command ran longer than ${timeoutMs} ms ${isGone ? 'and was killed' : 'and could not be killed: it may still run'}`,
          {
            details: {
              hint: 'Give the operation a longer timeoutMs, or the connection a longer commandTimeout.',
            },
          },
        ),
      );
    };
    const forget = session.onEnd(() =>
      fail(
        new AppError(
          'connection_lost',
          channel === undefined
            ? 'The server closed the connection'
            : 'The server closed the connection while the command ran; what it did until then is done',
        ),
      ),
    );
    const timer = timeoutMs > 0 ? setTimeout(onTimeout, timeoutMs) : undefined;
    if (!session.alive) return fail(new AppError('connection_lost'));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });

    const onChannel = (error: Error | undefined, opened: ClientChannel) => {
      if (error) return fail(refusedCommand(error));
      channel = opened;
      channel.on('data', (chunk: Buffer) => output.add(chunk));
      channel.stderr.on('data', (chunk: Buffer) => errors.add(chunk));
      channel.on('error', () => {});
      channel.on('exit', (code: number | null, name?: string) => {
        exit = { code, signal: name?.replace(/^SIG/, '') ?? null };
      });
      channel.on('close', () => {
        if (isSettled) return;
        if (!exit)
          return fail(new AppError('connection_lost', 'The server did not tell how the command ended'));
        settle();
        const stderr = errors.end();
        resolve({
          exitCode: exit.code,
          signal: exit.signal,
          stdout: output.text,
          stderr: stderr.text,
          stdoutTruncated: output.isTruncated,
          stderrTruncated: stderr.isTruncated,
          durationMs: Math.round(performance.now() - startedAt),
        });
      });
      if (isSettled) void end(session, channel, undefined);
      else channel.end(Buffer.concat([line, Buffer.from(input.stdin ?? '')]));
    };
    try {
      session.client.exec(wrapper(marker), onChannel);
    } catch (error) {
      fail(classifySshError(error) ?? error);
    }
  });
}

function refusedCommand(error: Error): AppError {
  return (
    classifySshError(error) ??
    new AppError('permission_denied', 'The server does not let this account run commands', {
      cause: error,
      details: { hint: 'The account may be limited to SFTP, or to one forced command.' },
    })
  );
}

/** Kills what runs on the channel and ends the session; answers whether it is known to be gone. */
async function end(
  session: SshSession,
  channel: ClientChannel | undefined,
  processId: number | undefined,
): Promise<boolean> {
  try {
    if (channel === undefined) return true;
    const closed = new Promise<true>((resolve) => {
      channel.once('close', () => resolve(true));
      session.onEnd(() => resolve(true));
    });
    sendSignal(session.client, channel);
    if (await closesInTime(closed)) return true;
    if (processId === undefined) return false;
    // A server without signals (RFC 4254 6.9 is optional), or one that keeps them from forced commands.
    session.client.exec(killCommand(processId), (error, killer) => {
      if (error) return;
      killer.on('error', () => {}).resume();
      killer.stderr.resume();
    });
    return await closesInTime(closed);
  } catch {
    return false;
  } finally {
    session.destroy();
  }
}

/** `channel.signal()` does nothing once standard input was ended, while SSH still allows signals then. */
function sendSignal(client: Client, channel: ClientChannel): void {
  const { _protocol: protocol } = client as unknown as {
    _protocol?: { signal(channelId: number, name: string): void };
  };
  const { outgoing } = channel as unknown as { outgoing: { id: number; state: string } };
  if (outgoing.state === 'open' || outgoing.state === 'eof') protocol?.signal(outgoing.id, 'KILL');
}

async function closesInTime(closed: Promise<true>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), killPatienceMs);
  });
  try {
    return await Promise.race([closed, late]);
  } finally {
    clearTimeout(timer);
  }
}
