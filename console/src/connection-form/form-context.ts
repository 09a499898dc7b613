import { createContext, useContext } from 'react';
import type { Body, FieldSchema } from './form-schema.ts';
import type { Variable } from './variables.ts';

/** What the fields of one form share. */
export interface FormState {
  project: string;
  schema: FieldSchema;
  body: Body;
  /** As it is stored, secrets null; null: it is new. */
  stored: Body | null;
  /** Top-level fields whose secret is stored. */
  storedSecrets: ReadonlySet<string>;
  /** Messages to show, by path. */
  faults: ReadonlyMap<string, string>;
  required: ReadonlySet<string>;
  variables: readonly Variable[];
  /** The project's. */
  environments: readonly string[];
  /** Where the connection goes with what the form holds. */
  targets: readonly string[];
  readonly: boolean;
  /** The field was worked on: its faults may be shown. */
  touch(path: string): void;
}

export const FormContext = createContext<FormState | null>(null);

/** What the fields of the form share; only within one. */
export function useFormState(): FormState {
  const state = useContext(FormContext);
  if (!state) throw new Error('There is no form here');
  return state;
}
