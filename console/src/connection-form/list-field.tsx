import { MultiSelect, TagsInput } from '@mantine/core';
import { type FieldPath, formatFieldPath } from '../../../src/contract/field-path.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { useFormState } from './form-context.ts';
import type { FieldSchema } from './form-schema.ts';

/** A list of texts: chosen ones where the choices are known, else typed. */
export function ListField({
  schema,
  path,
  value,
  onChange,
  required,
}: {
  schema: FieldSchema;
  path: FieldPath;
  value: unknown;
  onChange(value: string[]): void;
  required: boolean;
}) {
  const form = useFormState();
  const key = formatFieldPath(path);
  const label = schema.title ?? key;
  const fault = form.faults.get(key);
  const given = Array.isArray(value)
    ? value.map(String)
    : ((schema['x-default'] as string[] | undefined) ?? []);
  const isEnvironments = key === 'environments';
  const choices = isEnvironments ? form.environments : (schema.items?.enum as string[] | undefined);
  const shared = {
    id: `field-${key}`,
    label,
    description: schema.description,
    error: fault === undefined ? undefined : texts.fault(label, fault),
    required,
    disabled: form.readonly,
    value: given,
    onChange(next: string[]) {
      form.touch(key);
      onChange(next);
    },
    onBlur: () => form.touch(key),
  };
  return (
    <div data-field={key}>
      {choices ? (
        <MultiSelect
          {...shared}
          data={[...new Set([...choices, ...given])]}
          searchable
          clearable
          placeholder={given.length === 0 && isEnvironments ? texts.allEnvironments : undefined}
        />
      ) : (
        <TagsInput {...shared} placeholder={given.length === 0 ? texts.tagsHint : undefined} clearable />
      )}
    </div>
  );
}
