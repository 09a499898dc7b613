/** Something that can be in one crowd at a time. */
export interface CrowdMember {
  /** Its place there, which is the crowd's to say. */
  place: number;
}

/**
 * A collection in no order, for what comes and goes by the thousand. Not a Set: each table that one has
 * outgrown leads to the next and holds what was in it, so that once an old one is tenured nothing young
 * is collected before the whole heap is.
 */
export class Crowd<Member extends CrowdMember> {
  readonly #members: Member[] = [];

  get size(): number {
    return this.#members.length;
  }

  add(member: Member): void {
    member.place = this.#members.push(member) - 1;
  }

  /** Whether it is in this crowd. */
  has(member: Member): boolean {
    return this.#members[member.place] === member;
  }

  delete(member: Member): void {
    if (!this.has(member)) return;
    const last = this.#members.pop()!;
    if (last === member) return;
    this.#members[member.place] = last;
    last.place = member.place;
  }

  /** Those that are in it now, whatever becomes of them meanwhile. */
  *[Symbol.iterator](): Generator<Member> {
    yield* [...this.#members];
  }
}
