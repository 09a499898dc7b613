import { NativeSelect, NumberInput, PasswordInput, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { connection } from '../texts/connection.ts';
import { type InputField, inputFields, type OperationSchema } from './operation-input.ts';

const texts = connection.use;

type Input = Readonly<Record<string, unknown>>;

/** The input of an operation by its fields; what is optional and not set is folded. */
export function OperationForm({
  operation,
  input,
  onChange,
  faults,
  onFault,
}: {
  operation: OperationSchema;
  input: Input;
  onChange(input: Input): void;
  /** What the API said of fields. */
  faults: readonly { field: string; message: string }[];
  /** Tells of a field whose text is no value yet. */
  onFault(name: string, isFaulty: boolean): void;
}) {
  const fields = inputFields(operation.input);
  if (fields.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {texts.noFields}
      </Text>
    );
  const change = (name: string, value: unknown) => {
    const { [name]: _, ...others } = input;
    onChange(
      value === undefined
        ? others
        : name in input
          ? { ...input, [name]: value }
          : { ...others, [name]: value },
    );
  };
  const faultOf = (name: string) =>
    faults
      .filter(({ field }) => /^[^.[]*/.exec(field)?.[0] === name)
      .map(({ field, message }) => (field === name ? message : `${field}: ${message}`))
      .join('; ');
  const shown = (field: InputField) => (
    <Entry
      key={field.name}
      field={field}
      value={input[field.name]}
      fault={faultOf(field.name)}
      onChange={(value) => change(field.name, value)}
      onFault={(isFaulty) => onFault(field.name, isFaulty)}
    />
  );
  const required = fields.filter((field) => field.required);
  const optional = fields.filter((field) => !field.required);
  return (
    <Stack gap="sm">
      {required.map(shown)}
      {optional.length > 0 && (
        <details open={required.length === 0 || optional.some(({ name }) => faultOf(name)) || undefined}>
          <summary>
            <Text span size="sm">
              {texts.optional(optional.length)}
            </Text>
          </summary>
          <Stack gap="sm" mt="xs">
            {optional.map(shown)}
          </Stack>
        </details>
      )}
    </Stack>
  );
}

interface EntryProps {
  field: InputField;
  value: unknown;
  fault: string;
  onChange(value: unknown): void;
  onFault(isFaulty: boolean): void;
}

function Entry({ field, value, fault, onChange, onFault }: EntryProps) {
  const { kind, required } = field;
  const shared = {
    label: field.label,
    description: field.help || undefined,
    error: fault || undefined,
    withAsterisk: required,
  };
  const text = (next: string) => onChange(next === '' && !required ? undefined : next);
  switch (kind) {
    case 'choice':
      return (
        <NativeSelect
          {...shared}
          data={[
            ...(required ? [] : [{ value: '', label: texts.notSet }]),
            ...field.choices.map((choice) => ({ value: String(choice), label: String(choice) })),
          ]}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget }) =>
            onChange(field.choices.find((choice) => String(choice) === currentTarget.value))
          }
          maw={480}
        />
      );
    case 'boolean':
      return (
        <NativeSelect
          {...shared}
          data={[
            ...(required ? [] : [{ value: '', label: texts.notSet }]),
            { value: 'true', label: texts.yes },
            { value: 'false', label: texts.no },
          ]}
          value={value === undefined ? '' : String(value)}
          onChange={({ currentTarget }) =>
            onChange(currentTarget.value === '' ? undefined : currentTarget.value === 'true')
          }
          maw={320}
        />
      );
    case 'number':
      return (
        <NumberInput
          {...shared}
          value={typeof value === 'number' ? value : ''}
          onChange={(next) => onChange(typeof next === 'number' ? next : undefined)}
          hideControls
          maw={320}
        />
      );
    case 'secret':
      return (
        <PasswordInput
          {...shared}
          value={String(value ?? '')}
          onChange={({ currentTarget }) => text(currentTarget.value)}
          autoComplete="off"
        />
      );
    case 'text':
      return (
        <TextInput
          {...shared}
          value={String(value ?? '')}
          onChange={({ currentTarget }) => text(currentTarget.value)}
          autoComplete="off"
          spellCheck={false}
        />
      );
    case 'longText':
      return (
        <Textarea
          {...shared}
          value={String(value ?? '')}
          onChange={({ currentTarget }) => text(currentTarget.value)}
          autosize
          minRows={2}
          maxRows={14}
          spellCheck={false}
        />
      );
    case 'lines':
      return (
        <Textarea
          {...shared}
          description={[field.help, texts.lines].filter(Boolean).join(' ')}
          value={Array.isArray(value) ? value.join('\n') : ''}
          onChange={({ currentTarget }) =>
            onChange(currentTarget.value === '' && !required ? undefined : currentTarget.value.split('\n'))
          }
          autosize
          maxRows={10}
          spellCheck={false}
        />
      );
    case 'json':
    case 'any':
      return (
        <JsonEntry
          {...shared}
          isTextToo={kind === 'any'}
          value={value}
          onChange={onChange}
          onFault={onFault}
        />
      );
  }
}

/** A value that has no field of its own, as JSON; its text is kept while it is none. */
function JsonEntry({
  value,
  onChange,
  onFault,
  description,
  error,
  isTextToo,
  ...shared
}: {
  /** What is no JSON is a text. */
  isTextToo: boolean;
  label: string;
  description: string | undefined;
  error: string | undefined;
  withAsterisk: boolean;
  value: unknown;
  onChange(value: unknown): void;
  onFault(isFaulty: boolean): void;
}) {
  const [text, setText] = useState(() =>
    value === undefined
      ? ''
      : isTextToo && typeof value === 'string'
        ? value
        : JSON.stringify(value, null, 2),
  );
  const [wrong, setWrong] = useState<string | null>(null);
  const change = (next: string) => {
    setText(next);
    let parsed: unknown;
    try {
      parsed = next.trim() === '' ? undefined : JSON.parse(next);
    } catch (failure) {
      if (isTextToo) return onChange(next);
      setWrong(texts.invalid((failure as Error).message));
      return onFault(true);
    }
    setWrong(null);
    onFault(false);
    onChange(parsed);
  };
  return (
    <Textarea
      {...shared}
      description={[description, isTextToo ? texts.jsonOrText : texts.json].filter(Boolean).join(' ')}
      error={wrong ?? error}
      value={text}
      onChange={({ currentTarget }) => change(currentTarget.value)}
      autosize
      maxRows={14}
      spellCheck={false}
      styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
    />
  );
}
