/**
 * What the validator made of a body whose stored form it accepted, with the warnings that belong to it
 * in every form. A worker that is handed it together with the completed body need not read that again:
 * it would come to the same, unless something in it had to be resolved first. No text can stand for one.
 */
export class AcceptedForm {
  readonly config: Record<string, unknown>;
  readonly warnings: readonly string[];

  constructor(config: Record<string, unknown>, warnings: readonly string[]) {
    this.config = config;
    this.warnings = warnings;
  }

  /** Left out of every frame. */
  toJSON(): undefined {
    return undefined;
  }
}
