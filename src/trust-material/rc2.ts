import { Buffer } from 'node:buffer';

/** PITABLE of RFC 2268. */
const permutation = Buffer.from(
  [
    'd978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2',
    '179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82',
    '54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626',
    '6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7',
    '08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec',
    'c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731',
    '2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9',
    '0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad',
  ].join(''),
  'hex',
);
const rotations = [1, 2, 3, 5] as const;

/**
 * Decrypts RC2 in CBC mode (RFC 2268), padding included: the cipher of old PKCS12 files, which the
 * runtime's own cryptography has no more. `data` is a whole number of 8-byte blocks.
 */
export function decryptRc2Cbc(data: Buffer, key: Buffer, effectiveBits: number, iv: Buffer): Buffer {
  const words = expandKey(key, effectiveBits);
  const plain = Buffer.alloc(data.length);
  let previous = iv;
  for (let at = 0; at < data.length; at += 8) {
    const block = data.subarray(at, at + 8);
    decryptBlock(block, words, plain, at);
    for (let byte = 0; byte < 8; byte += 1) plain[at + byte]! ^= previous[byte]!;
    previous = block;
  }
  return plain;
}

function expandKey(key: Buffer, effectiveBits: number): Uint16Array {
  const bytes = Buffer.alloc(128);
  key.copy(bytes);
  const effectiveBytes = Math.ceil(effectiveBits / 8);
  const mask = 255 >> (8 * effectiveBytes - effectiveBits);
  for (let i = key.length; i < 128; i += 1)
    bytes[i] = permutation[(bytes[i - 1]! + bytes[i - key.length]!) & 255]!;
  bytes[128 - effectiveBytes] = permutation[bytes[128 - effectiveBytes]! & mask]!;
  for (let i = 127 - effectiveBytes; i >= 0; i -= 1)
    bytes[i] = permutation[bytes[i + 1]! ^ bytes[i + effectiveBytes]!]!;
  return Uint16Array.from({ length: 64 }, (_, i) => bytes.readUInt16LE(2 * i));
}

function decryptBlock(block: Buffer, words: Uint16Array, plain: Buffer, at: number): void {
  const r = Uint16Array.from({ length: 4 }, (_, i) => block.readUInt16LE(2 * i));
  let next = 63;
  for (let round = 15; round >= 0; round -= 1) {
    for (let i = 3; i >= 0; i -= 1) {
      const shift = rotations[i]!;
      const word = r[i]!;
      const [a, b, c] = [r[(i + 3) & 3]!, r[(i + 2) & 3]!, r[(i + 1) & 3]!];
      r[i] = ((word >>> shift) | (word << (16 - shift))) - words[next]! - (a & b) - (~a & c);
      next -= 1;
    }
    if (round === 11 || round === 5)
      for (let i = 3; i >= 0; i -= 1) r[i] = r[i]! - words[r[(i + 3) & 3]! & 63]!;
  }
  for (let i = 0; i < 4; i += 1) plain.writeUInt16LE(r[i]!, at + 2 * i);
}
