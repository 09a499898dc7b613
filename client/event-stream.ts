import { linesOf } from './lines.ts';

/** One event of the stream. */
export interface StreamEvent {
  /** `connection`, `deployment`, `health`, `worker`, `keystore`, `certificate`, `variable`, `expiry` */
  event: string;
  data: Record<string, unknown>;
}

/** Reads server-sent events; by fetch and not by EventSource, which cannot send a token. */
export async function* streamEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent, void> {
  let event = '';
  for await (const line of linesOf(body)) {
    if (line.startsWith('event: ')) event = line.slice(7);
    else if (line.startsWith('data: '))
      yield { event, data: JSON.parse(line.slice(6)) as Record<string, unknown> };
  }
}
