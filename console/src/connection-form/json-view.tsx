import { Textarea } from '@mantine/core';
import { useState } from 'react';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { type Body, canonical } from './form-schema.ts';
import { faultLine } from './json-fault.ts';

/** The body as JSON; each text that is one becomes the body, and a fault is told with its line. */
export function JsonView({
  body,
  type,
  readonly,
  onChange,
  onFault,
}: {
  body: Body;
  type: string;
  readonly: boolean;
  onChange(body: Body): void;
  /** null: the text is a body. */
  onFault(fault: string | null): void;
}) {
  const [text, setText] = useState(() => JSON.stringify(body, null, 2));
  const [fault, setFault] = useState<string | null>(null);
  const change = (next: string) => {
    setText(next);
    const read = readBody(next, type);
    const nextFault = typeof read === 'string' ? read : null;
    setFault(nextFault);
    onFault(nextFault);
    if (typeof read !== 'string' && canonical(read) !== canonical(body)) onChange(read);
  };
  return (
    <Textarea
      label={texts.jsonLabel}
      description={texts.jsonHelp}
      value={text}
      onChange={(event) => change(event.currentTarget.value)}
      error={fault}
      readOnly={readonly}
      rows={24}
      resize="vertical"
      spellCheck={false}
      autoComplete="off"
      wrap="off"
      styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 13 } }}
    />
  );
}

/** The body that a text is, or what is wrong with it. */
export function readBody(text: string, type: string): Body | string {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    // What an engine says of the place, where it does, is in its own words.
    const said = error instanceof Error ? error.message : String(error);
    return texts.jsonFault(said.split(/,? (?:\.\.\.|"|in JSON at|at line)/)[0]!, faultLine(text));
  }
  if (typeof read !== 'object' || read === null || Array.isArray(read)) return texts.jsonNoObject;
  const body = read as Body;
  if (body['type'] !== undefined && body['type'] !== type) return texts.jsonType(type);
  return { ...body, type };
}
