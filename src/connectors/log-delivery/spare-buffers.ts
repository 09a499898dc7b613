/** Most UTF-16 units of the text that a spare buffer is for. */
export const maxSpareLength = 64 * 1024;
const maxBytesPerUnit = 3;
const spareBytes = maxSpareLength * maxBytesPerUnit;
/** Most buffers that are kept for the next one who needs one. */
const maxSpares = 4;

const spares: Buffer[] = [];

/**
 * A buffer that holds any text of `maxSpareLength` units in UTF-8. New memory for each batch costs more than
 * all that is done in it, because the system hands it out page by page.
 */
export function takeSpare(): Buffer {
  return spares.pop() ?? Buffer.allocUnsafeSlow(spareBytes);
}

/** Gives it back; nobody may still read from it. */
export function giveSpareBack(buffer: Buffer): void {
  if (spares.length < maxSpares) spares.push(buffer);
}
