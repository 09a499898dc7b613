/** Whether a name matches a glob: `*` stands for any characters, `?` for one. */
export function matchesGlob(glob: string, name: string): boolean {
  return matchesStars(
    [...glob],
    [...name],
    (wildcard, character) => wildcard === '?' || wildcard === character,
  );
}

/**
 * Whether the whole name matches, where `*` stands for any characters and `one` says what else does: with
 * one point to go back to, so that no pattern costs more than pattern × name.
 */
export function matchesStars(
  pattern: readonly string[],
  name: readonly string[],
  one: (wildcard: string, character: string) => boolean,
): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  let index = 0;
  while (index < name.length) {
    if (pattern[at] === '*') {
      star = at++;
      resume = index;
    } else if (at < pattern.length && one(pattern[at]!, name[index]!)) {
      at++;
      index++;
    } else if (star >= 0) {
      at = star + 1;
      index = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[at] === '*') at++;
  return at === pattern.length;
}
