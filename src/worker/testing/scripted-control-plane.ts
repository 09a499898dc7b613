import { type Channel, createChannelPair } from '../../contract/channel.ts';
import {
  type FromWorker,
  PROTOCOL_VERSION,
  type StageResult,
  type ToWorker,
  type Verdict,
} from '../../contract/worker-protocol.ts';
import { AppError } from '../../errors.ts';
import { until } from './fake-type.ts';

type Of<Kind extends FromWorker['kind']> = Extract<FromWorker, { kind: Kind }>;

/** The other end of a worker's stream, played by a test. */
export function createScriptedControlPlane({ epoch = 'e1', environment = 'production' } = {}) {
  const received: FromWorker[] = [];
  const closes: number[] = [];
  let channel: Channel | undefined;
  let isAway = false;
  let isRevoked = false;
  let welcomes = true;
  let count = 0;

  const plane = {
    epoch,
    received,
    closes,
    set away(value: boolean) {
      isAway = value;
    },
    set revoked(value: boolean) {
      isRevoked = value;
    },
    set silent(value: boolean) {
      welcomes = !value;
    },
    async connect(): Promise<Channel> {
      if (isRevoked) throw new AppError('unauthorized_client');
      if (isAway) throw new AppError('unavailable', 'away');
      const [ours, theirs] = createChannelPair();
      ours.onMessage((text) => {
        const message = JSON.parse(text) as FromWorker;
        received.push(message);
        if (message.kind !== 'hello') return;
        channel = ours;
        if (welcomes)
          plane.send({
            kind: 'welcome',
            protocol: PROTOCOL_VERSION,
            epoch: plane.epoch,
            environment,
            worker: 'w',
          });
      });
      ours.onClose((code) => {
        closes.push(code);
        if (channel === ours) channel = undefined;
      });
      return theirs;
    },
    send(message: ToWorker) {
      plane.sendText(JSON.stringify(message));
    },
    sendText(text: string) {
      channel!.send(text);
    },
    close(code?: number) {
      channel!.close(code);
    },
    of<Kind extends FromWorker['kind']>(kind: Kind): Of<Kind>[] {
      return received.filter((message): message is Of<Kind> => message.kind === kind);
    },
    verdicts(connection: string): Verdict[] {
      return plane
        .of('verdicts')
        .flatMap(({ items }) => items)
        .filter((verdict) => verdict.connection === connection);
    },
    steps(connection: string): string[] {
      return plane.verdicts(connection).map(({ step, revision }) => `${step} ${revision}`);
    },
    reached(connection: string, step: string): Promise<void> {
      return until(() => plane.steps(connection).includes(step), `${connection} ${step}`);
    },
    hellos(number: number): Promise<void> {
      return until(() => plane.of('hello').length >= number, `${number} hellos`);
    },
    /** Sends a request and answers what comes back. */
    async ask(
      message:
        | Omit<Extract<ToWorker, { kind: 'operate' }>, 'request'>
        | Omit<Extract<ToWorker, { kind: 'test' }>, 'request'>,
    ): Promise<{ answer: Of<'answer'> | Of<'failure'>; stages: StageResult[] }> {
      const request = `r${count++}`;
      plane.send({ ...message, request } as ToWorker);
      return plane.answerOf(request);
    },
    async answerOf(request: string) {
      const find = () =>
        [...plane.of('answer'), ...plane.of('failure')].find((message) => message.request === request);
      await until(() => find() !== undefined, `the answer of ${request}`);
      const stages = plane.of('stage').filter((message) => message.request === request);
      return { answer: find()!, stages: stages.map(({ stage }) => stage) };
    },
  };
  return plane;
}
