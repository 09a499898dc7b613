import { PlugboardError } from '../../../client/plugboard.ts';

/** What a refused request says of a field, by the field's path as the API names it. */
export function faultAt(error: unknown, field: string): string | undefined {
  const found = faultsOf(error).filter((fault) => fault.field === field);
  return found.length === 0 ? undefined : found.map(({ message }) => message).join('; ');
}

/** All faults of fields that a refused request names. */
export function faultsOf(error: unknown): readonly { field: string; message: string }[] {
  return error instanceof PlugboardError ? (error.body.validation_errors ?? []) : [];
}
