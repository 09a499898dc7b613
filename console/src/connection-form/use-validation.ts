import { useEffect, useRef, useState } from 'react';
import { PlugboardError } from '../../../client/plugboard.ts';
import { useSession } from '../session/session.tsx';
import { connectionForm as texts } from '../texts/connection-form.ts';
import type { Fault } from './field-faults.ts';
import type { Body } from './form-schema.ts';

export interface Validation {
  state: 'off' | 'checking' | 'valid' | 'faulty' | 'failed';
  faults: readonly Fault[];
  warnings: readonly string[];
  error?: unknown;
}

const settleMs = 350;
const off: Validation = { state: 'off', faults: [], warnings: [] };

/**
 * Has the API check a body a moment after it changed; what was found stays until the next answer.
 * `storedName`: the connection that it is to replace; null: it is to be new.
 */
export function useValidation({
  project,
  body,
  storedName,
  namePattern,
  enabled,
}: {
  project: string;
  body: Body;
  /** What a name must match, of the published schema. */
  namePattern: string;
  storedName: string | null;
  enabled: boolean;
}): Validation {
  const { plugboard } = useSession();
  const [validation, setValidation] = useState<Validation>(off);
  // Nothing is stored under it, so that a body without a name is checked as a new one.
  const [unused] = useState(() => `unnamed ${Math.random().toString(36).slice(2)}`);
  const taken = useRef(new Map<string, boolean>());

  useEffect(() => {
    if (!enabled) return;
    const ending = new AbortController();
    const { signal } = ending;
    const timer = setTimeout(async () => {
      setValidation((last) => ({ ...last, state: 'checking' }));
      const name = typeof body['name'] === 'string' ? body['name'] : '';
      const base = `/apiops/projects/${encodeURIComponent(project)}/connections/`;
      try {
        const nameFaults = isSameName(name, storedName)
          ? []
          : name !== '' && !new RegExp(namePattern, 'u').test(name.normalize('NFC'))
            ? [{ field: 'name', message: texts.badName }]
            : await nameTaken(
                name,
                (path, options) => plugboard.open('GET', `${base}${path}`, options),
                signal,
                taken.current,
              );
        const isNew = storedName === null;
        // A name that is taken would have the body checked as a change of that connection.
        const checkedAs = isNew ? (name === '' || nameFaults.length > 0 ? unused : name) : storedName;
        const rest = { ...body, name: isNew && nameFaults.length === 0 ? body['name'] : checkedAs };
        if (isNew && name === '') delete (rest as Body)['name'];
        const result = await validate(() =>
          plugboard.request<{ warnings?: string[] }>(
            'POST',
            `${base}${encodeURIComponent(checkedAs)}/validate/`,
            { body: rest, signal },
          ),
        );
        if (signal.aborted) return;
        const faults = [...nameFaults, ...result.faults];
        setValidation({ state: faults.length > 0 ? 'faulty' : 'valid', faults, warnings: result.warnings });
      } catch (error) {
        if (!signal.aborted) setValidation((last) => ({ ...last, state: 'failed', error }));
      }
    }, settleMs);
    return () => {
      clearTimeout(timer);
      ending.abort();
    };
  }, [plugboard, project, body, storedName, namePattern, enabled, unused]);

  return enabled ? validation : off;
}

async function validate(
  send: () => Promise<{ warnings?: string[] }>,
): Promise<{ faults: readonly Fault[]; warnings: readonly string[] }> {
  try {
    return { faults: [], warnings: (await send()).warnings ?? [] };
  } catch (error) {
    const faults = faultsOf(error);
    if (!faults) throw error;
    return { faults, warnings: [] };
  }
}

/** The faults that an answer of 400 names; undefined for any other failure. */
export function faultsOf(error: unknown): readonly Fault[] | undefined {
  return error instanceof PlugboardError && error.status === 400
    ? (error.body.validation_errors ?? undefined)
    : undefined;
}

async function nameTaken(
  name: string,
  get: (path: string, options: { query: { reveal: boolean }; signal: AbortSignal }) => Promise<Response>,
  signal: AbortSignal,
  known: Map<string, boolean>,
): Promise<Fault[]> {
  if (name === '') return [];
  let isTaken = known.get(name);
  if (isTaken === undefined) {
    try {
      const response = await get(`${encodeURIComponent(name)}/`, { query: { reveal: false }, signal });
      await response.body?.cancel();
      isTaken = true;
    } catch (error) {
      if (!(error instanceof PlugboardError) || ![404, 400].includes(error.status)) throw error;
      isTaken = false;
    }
    known.set(name, isTaken);
  }
  return isTaken ? [{ field: 'name', message: texts.nameTaken }] : [];
}

function isSameName(name: string, storedName: string | null): boolean {
  return (
    storedName !== null && name.normalize('NFC').toLowerCase() === storedName.normalize('NFC').toLowerCase()
  );
}
