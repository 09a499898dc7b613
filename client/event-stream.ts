/** One event of the stream. */
export interface StreamEvent {
  /** `connection`, `deployment`, `health`, `worker`, `keystore`, `certificate`, `variable`, `expiry` */
  event: string;
  data: Record<string, unknown>;
}

/**
 * What happens, as it happens, until the signal aborts or the stream ends; throws when it cannot be
 * opened. By fetch and not by EventSource, which cannot send a token.
 */
export async function* streamEvents(response: Response): AsyncGenerator<StreamEvent, void, undefined> {
  if (!response.body) return;
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of chunksOf(response.body)) {
    text += decoder.decode(chunk, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event && data) yield { event, data: JSON.parse(data) as Record<string, unknown> };
    }
  }
}

// Safari has no async iterator on a ReadableStream.
async function* chunksOf(body: ReadableStream<Uint8Array>) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
