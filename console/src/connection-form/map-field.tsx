import { ActionIcon, Button, Group, Input, Paper, Stack, Text, TextInput } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { useRef, useState } from 'react';
import { type FieldPath, formatFieldPath } from '../../../src/contract/field-path.ts';
import { isCredentialProperty } from '../../../src/contract/secret-places.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { useFormState } from './form-context.ts';
import type { Body, FieldSchema } from './form-schema.ts';
import { ValueEntry } from './value-entry.tsx';

interface Row {
  key: number;
  name: string;
  value: unknown;
}

/** A map from names to values, as rows; a row without a name is not in the map yet. */
export function MapField({
  schema,
  path,
  value,
  onChange,
}: {
  schema: FieldSchema;
  path: FieldPath;
  value: unknown;
  onChange(value: Body): void;
}) {
  const form = useFormState();
  const nextKey = useRef(0);
  const [rows, setRows] = useState<Row[]>(() =>
    Object.entries((value ?? {}) as Body).map(([name, inner]) => ({
      key: nextKey.current++,
      name,
      value: inner,
    })),
  );
  const key = formatFieldPath(path);
  const label = schema.title ?? key;
  const fault = form.faults.get(key);
  const values = schema['x-values']!;
  const storedMap = (path.length === 1 ? form.stored?.[String(path[0])] : undefined) as
    | Body
    | undefined
    | null;

  const set = (next: Row[]) => {
    setRows(next);
    form.touch(key);
    onChange(Object.fromEntries(next.filter(({ name }) => name !== '').map((row) => [row.name, row.value])));
  };
  const change = (row: Row, changed: Partial<Row>) =>
    set(rows.map((one) => (one === row ? { ...one, ...changed } : one)));

  return (
    <Stack gap={0} data-field={key} role="group" aria-label={label}>
      <Input.Label labelElement="div">{label}</Input.Label>
      {schema.description && <Input.Description>{schema.description}</Input.Description>}
      <Stack gap="xs" mt={4}>
        {rows.length === 0 && (
          <Text size="sm" c="dimmed">
            {texts.emptyList}
          </Text>
        )}
        {rows.map((row, index) => {
          const declared = (row.value as Body | null)?.['valueType'];
          const isCredential =
            schema['x-secret'] === 'property-values' && isCredentialProperty(row.name, declared);
          const credential = isCredential ? { stored: hasOwn(storedMap, row.name) } : undefined;
          const repeated = rows.some((other) => other !== row && other.name === row.name && row.name !== '');
          return (
            <Paper key={row.key} withBorder p="xs">
              <Group align="flex-start" gap="xs" wrap="nowrap">
                <Stack gap="xs" flex={1} miw={0}>
                  <TextInput
                    label={texts.mapName}
                    aria-label={`${texts.item(label, index + 1)}: ${texts.mapName}`}
                    value={row.name}
                    onChange={(event) => change(row, { name: event.currentTarget.value })}
                    error={repeated ? texts.duplicateName : undefined}
                    disabled={form.readonly}
                    autoComplete="off"
                    spellCheck={false}
                  />
                  {values.type === 'object' ? (
                    Object.entries(values.properties ?? {}).map(([member, memberSchema]) => (
                      <ValueEntry
                        key={member}
                        schema={memberSchema}
                        path={[...path, row.name, member]}
                        value={(row.value as Body | null)?.[member]}
                        onChange={(next) =>
                          change(row, { value: { ...(row.value as Body | null), [member]: next } })
                        }
                        required={values.required?.includes(member) ?? false}
                        credential={member === 'value' ? credential : undefined}
                      />
                    ))
                  ) : (
                    <ValueEntry
                      schema={values}
                      path={[...path, row.name]}
                      value={row.value}
                      onChange={(next) => change(row, { value: next ?? (credential ? null : '') })}
                      required={false}
                      credential={credential}
                    />
                  )}
                </Stack>
                {!form.readonly && (
                  <ActionIcon
                    variant="subtle"
                    color="red"
                    aria-label={texts.removeItem(label, index + 1)}
                    onClick={() => set(rows.filter((one) => one !== row))}
                  >
                    <IconTrash size={16} />
                  </ActionIcon>
                )}
              </Group>
            </Paper>
          );
        })}
        {fault && <Input.Error>{texts.fault(label, fault)}</Input.Error>}
        {!form.readonly && (
          <Button
            variant="default"
            size="xs"
            leftSection={<IconPlus size={14} />}
            onClick={() =>
              set([
                ...rows,
                { key: nextKey.current++, name: '', value: values.type === 'object' ? { value: '' } : '' },
              ])
            }
            w="fit-content"
          >
            {texts.add(label)}
          </Button>
        )}
      </Stack>
    </Stack>
  );
}

function hasOwn(map: Body | null | undefined, name: string): boolean {
  return typeof map === 'object' && map !== null && Object.hasOwn(map, name);
}
