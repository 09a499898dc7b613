import { Textarea } from '@mantine/core';
import { useState } from 'react';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { type Body, canonical } from './form-schema.ts';

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
    const { message, line } = syntaxFault(error, text);
    return texts.jsonFault(message, line);
  }
  if (typeof read !== 'object' || read === null || Array.isArray(read)) return texts.jsonNoObject;
  const body = read as Body;
  if (body['type'] !== undefined && body['type'] !== type) return texts.jsonType(type);
  return { ...body, type };
}

/** Engines say the place in different ways, or only by its offset. */
function syntaxFault(error: unknown, text: string): { message: string; line: number | null } {
  const said = error instanceof Error ? error.message : String(error);
  const message = said.split(/ in JSON at | at line | \(line /)[0]!;
  const line = /line (\d+)/.exec(said)?.[1];
  if (line !== undefined) return { message, line: Number(line) };
  const offset = /position (\d+)/.exec(said)?.[1];
  if (offset !== undefined) return { message, line: text.slice(0, Number(offset)).split('\n').length };
  return { message, line: /end of (JSON input|data)|EOF/i.test(said) ? text.split('\n').length : null };
}
