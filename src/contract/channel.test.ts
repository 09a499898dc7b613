import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createChannelPair, sendMessage } from './channel.ts';

test('frames arrive in order and never inside the call that sends them', async () => {
  const [left, right] = createChannelPair();
  const seen: string[] = [];
  right.onMessage((text) => seen.push(text));
  for (const text of ['a', 'b', 'c']) left.send(text);
  assert.deepEqual(seen, []);
  await turn();
  assert.deepEqual(seen, ['a', 'b', 'c']);
});

test('frames that came before a receiver was set are kept for it', async () => {
  const [left, right] = createChannelPair();
  left.send('early');
  await turn();
  const seen: string[] = [];
  right.onMessage((text) => seen.push(text));
  left.send('late');
  await turn();
  assert.deepEqual(seen, ['early', 'late']);
});

test('what was sent before closing arrives, then both ends hear the code once', async () => {
  const [left, right] = createChannelPair();
  const seen: string[] = [];
  right.onMessage((text) => seen.push(text));
  right.onClose((code, reason) => seen.push(`right ${code} ${reason}`));
  left.onClose((code, reason) => seen.push(`left ${code} ${reason}`));
  left.send('last');
  left.close(4401, 'revoked');
  left.send('too late');
  right.close(1000);
  await turn();
  assert.deepEqual(seen.sort(), ['last', 'left 4401 revoked', 'right 4401 revoked']);
});

test('a listener set after the end still hears of it', async () => {
  const [left, right] = createChannelPair();
  left.close();
  await turn();
  const code = await new Promise<number>((resolve) => right.onClose(resolve));
  assert.equal(code, 1000);
});

test('messages are handed over as they are where both ends asked for it, in order with frames', async () => {
  const [left, right] = createChannelPair({ direct: true });
  const seen: unknown[] = [];
  right.direct!.onMessage((message) => seen.push(message));
  const message = { kind: 'one' };
  sendMessage(left, message);
  left.send('two');
  await turn();
  assert.equal(seen.length, 0);
  right.onMessage((text) => seen.push(text));
  await turn();
  assert.deepEqual(seen, [message, 'two']);
  assert.equal(seen[0], message);
});

test('messages are texts where nobody asked for anything else', async () => {
  const [left, right] = createChannelPair();
  const seen: string[] = [];
  right.onMessage((text) => seen.push(text));
  sendMessage(left, { kind: 'one' });
  await turn();
  assert.deepEqual(seen, ['{"kind":"one"}']);
});
