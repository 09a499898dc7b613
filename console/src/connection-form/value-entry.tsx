import {
  ActionIcon,
  Autocomplete,
  Button,
  FileButton,
  Group,
  Input,
  NativeSelect,
  NumberInput,
  Stack,
  Switch,
  Text,
} from '@mantine/core';
import { IconCodeDots, IconForms } from '@tabler/icons-react';
import { type ReactNode, useState } from 'react';
import { type FieldPath, formatFieldPath } from '../../../src/contract/field-path.ts';
import { hasVariable, variableOf } from '../../../src/contract/reference-syntax.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { type FormState, useFormState } from './form-context.ts';
import { type FieldSchema, matters } from './form-schema.ts';
import { readFileAs } from './read-file.ts';
import { SecretEntry } from './secret-entry.tsx';
import { useStoredObjects } from './stored-objects.ts';
import { TemplateInput, TemplatePreview } from './template-input.tsx';
import { isHidden } from './variables.ts';

export interface ValueEntryProps {
  schema: FieldSchema;
  path: FieldPath;
  value: unknown;
  /** null: not set. */
  onChange(value: unknown): void;
  required: boolean;
  /** The value of a header or property that carries a credential; `stored`: there is one to keep. */
  credential?: { stored: boolean } | undefined;
  /** In place of the schema's title. */
  label?: string;
}

/** One value, by its schema: a switch, a number, a choice, a text or a secret. */
export function ValueEntry(props: ValueEntryProps) {
  const form = useFormState();
  const { schema, path, value, credential } = props;
  const key = formatFieldPath(path);
  const fault = form.faults.get(key);
  const label = props.label ?? schema.title ?? String(path.at(-1));
  const entry: EntryProps = {
    id: `field-${key}`,
    label,
    description: <Help schema={schema} path={path} form={form} set={value !== null && value !== undefined} />,
    error: fault === undefined ? undefined : texts.fault(label, fault),
    required: props.required,
    disabled: form.readonly,
    schema,
    value,
    form,
    onChange(next) {
      form.touch(key);
      props.onChange(next);
    },
    onBlur: () => form.touch(key),
  };
  const isSecret = schema['x-secret'] === 'value' || credential !== undefined;
  return (
    <div data-field={key}>
      {isSecret ? (
        <SecretEntry
          {...entry}
          value={value as string | null | undefined}
          stored={credential ? credential.stored : form.storedSecrets.has(key)}
          removable={!credential && !props.required}
          multiline={schema['x-multiline'] === true}
          base64={schema['format'] === 'base64'}
        />
      ) : schema.type === 'string' && !schema.enum ? (
        <TextEntry {...entry} name={String(path.at(-1))} />
      ) : (
        <WithVariable {...entry} />
      )}
    </div>
  );
}

interface EntryProps {
  id: string;
  label: string;
  description: ReactNode;
  error: string | undefined;
  required: boolean;
  disabled: boolean;
  schema: FieldSchema;
  value: unknown;
  form: FormState;
  onChange(value: unknown): void;
  onBlur(): void;
}

function Help({
  schema,
  path,
  form,
  set,
}: {
  schema: FieldSchema;
  path: FieldPath;
  form: FormState;
  set: boolean;
}) {
  const fallback = schema['x-default'];
  const numeric = schema.type === 'integer' || schema.type === 'number';
  const largest = schema['maximum'] as number | undefined;
  const range = numeric
    ? texts.range(
        schema['minimum'] as number | undefined,
        largest !== undefined && largest < 2 ** 31 - 1 ? largest : undefined,
      )
    : '';
  const said = [
    schema.description,
    range,
    schema.type !== 'boolean' && !schema.enum && isScalar(fallback) && fallback !== ''
      ? texts.defaultIs(String(fallback))
      : '',
    schema.type === 'boolean' && fallback !== undefined
      ? texts.defaultIs(fallback === true ? texts.on : texts.off)
      : '',
    schema['x-secret'] === 'url' ? texts.urlMaskHelp : '',
  ].filter(Boolean);
  const idle = path.length === 1 && set && !matters(form.schema, String(path[0]), form.body);
  return (
    <>
      {said.join(' ')}
      {idle && (
        <Text span inherit fs="italic" display="block">
          {texts.withoutEffect}
        </Text>
      )}
    </>
  );
}

function TextEntry({
  schema,
  value,
  form,
  name,
  onChange,
  description,
  ...entry
}: EntryProps & { name: string }) {
  const [fileFault, setFileFault] = useState<string | null>(null);
  const suggestions = useStoredObjects(form.project, name);
  const text = typeof value === 'string' ? value : value === null || value === undefined ? '' : String(value);
  const multiline = schema['x-multiline'] === true;
  const examples = schema['examples'] as unknown[] | undefined;
  const fallback = schema['x-default'];
  const placeholder =
    typeof fallback === 'string' && fallback !== ''
      ? fallback
      : examples?.length
        ? texts.example(String(examples[0]))
        : undefined;
  const change = (next: string) => onChange(next === '' ? emptied(schema) : next);
  const offered = name === 'selectedEnvironmentId' ? [...form.environments] : suggestions;
  return (
    <>
      {offered.length > 0 ? (
        <Autocomplete
          {...entry}
          description={description}
          placeholder={placeholder}
          data={offered}
          value={text}
          onChange={change}
          autoComplete="off"
        />
      ) : (
        <TemplateInput
          {...entry}
          description={description}
          placeholder={placeholder}
          value={text}
          onChange={change}
          multiline={multiline || text.includes('\n')}
          monospace={multiline && name !== 'description'}
          variables={form.variables}
        />
      )}
      {multiline && name !== 'description' && !entry.disabled && (
        <Group gap="xs" mt={4}>
          <FileButton
            onChange={(file) =>
              file &&
              readFileAs(file, schema['format'] === 'base64' ? 'base64' : 'text').then(
                (content) => {
                  setFileFault(null);
                  change(content);
                },
                (failure: Error) => setFileFault(failure.message),
              )
            }
          >
            {(props) => (
              <Button
                {...props}
                size="compact-xs"
                variant="default"
                aria-label={texts.fromFileOf(entry.label)}
              >
                {texts.fromFile}
              </Button>
            )}
          </FileButton>
          {fileFault && <Input.Error>{fileFault}</Input.Error>}
        </Group>
      )}
      <TemplatePreview text={text} variables={form.variables} targets={form.targets} />
    </>
  );
}

/** A text that is empty is not set, except where a default would come in its place. */
function emptied(schema: FieldSchema): string | null {
  return schema['x-default'] === undefined || schema['minLength'] !== undefined ? null : '';
}

/** A number, a switch or a choice; or the variable that stands for it. */
function WithVariable(entry: EntryProps) {
  const { value, label } = entry;
  const [byVariable, setByVariable] = useState(hasVariable(value));
  const toggle = entry.disabled ? null : (
    <ActionIcon
      variant="subtle"
      color="gray"
      size="lg"
      aria-label={byVariable ? texts.valueFor(label) : texts.variableFor(label)}
      title={byVariable ? texts.valueFor(label) : texts.variableFor(label)}
      aria-pressed={byVariable}
      onClick={() => {
        setByVariable(!byVariable);
        entry.onChange(null);
      }}
    >
      {byVariable ? <IconForms size={16} /> : <IconCodeDots size={16} />}
    </ActionIcon>
  );
  if (byVariable)
    return <VariableEntry {...entry} text={typeof value === 'string' ? value : ''} toggle={toggle} />;
  if (entry.schema.type === 'boolean') return <SwitchEntry {...entry} toggle={toggle} />;
  if (entry.schema.enum) return <ChoiceEntry {...entry} toggle={toggle} />;
  return <NumberEntry {...entry} toggle={toggle} />;
}

function VariableEntry({
  form,
  text,
  toggle,
  schema,
  value: _,
  onChange,
  ...entry
}: EntryProps & { text: string; toggle: ReactNode }) {
  const names = form.variables.filter((variable) => !isHidden(variable)).map(({ name }) => name);
  const shown = variableOf(text) ?? text.replace(/^\$\{/, '').replace(/\}$/, '');
  return (
    <>
      <Autocomplete
        {...entry}
        label={texts.variableOf(entry.label)}
        data={names}
        value={shown}
        placeholder={texts.chooseVariable}
        onChange={(name) => onChange(name === '' ? null : `\${${name}}`)}
        inputContainer={(children) => <Beside toggle={toggle}>{children}</Beside>}
        leftSection={
          <Text size="xs" ff="monospace" aria-hidden>
            {'${}'}
          </Text>
        }
        autoComplete="off"
        spellCheck={false}
      />
      <TemplatePreview text={text} variables={form.variables} targets={form.targets} />
    </>
  );
}

function NumberEntry({
  schema,
  value,
  form: _,
  onChange,
  toggle,
  ...entry
}: EntryProps & { toggle: ReactNode }) {
  const unit = schema['x-unit'];
  const fallback = schema['x-default'];
  return (
    <NumberInput
      {...entry}
      value={typeof value === 'number' || typeof value === 'string' ? value : ''}
      onChange={(next) => onChange(next === '' ? null : next)}
      placeholder={fallback === undefined ? undefined : String(fallback)}
      allowDecimal={schema.type === 'number'}
      hideControls
      rightSection={
        unit ? (
          <Text size="xs" c="dimmed" pr="xs">
            {texts.units[unit] ?? unit}
          </Text>
        ) : undefined
      }
      rightSectionWidth={unit ? 72 : undefined}
      inputContainer={(children) => (
        <Beside toggle={toggle} width={320}>
          {children}
        </Beside>
      )}
    />
  );
}

function ChoiceEntry({
  schema,
  value,
  form: _,
  onChange,
  toggle,
  ...entry
}: EntryProps & { toggle: ReactNode }) {
  const labels = schema['x-labels'] as Record<string, string> | undefined;
  const fallback = schema['x-default'];
  const known = (schema.enum ?? []).map(String);
  const given = typeof value === 'string' ? value : undefined;
  const data = [
    ...(fallback === undefined ? [{ value: '', label: texts.notSet }] : []),
    ...known.map((option) => {
      const shown = labels?.[option] ?? option;
      return { value: option, label: option === fallback ? texts.isDefault(shown) : shown };
    }),
    ...(given !== undefined && !known.includes(given) ? [{ value: given, label: given }] : []),
  ];
  return (
    <NativeSelect
      {...entry}
      data={data}
      value={given ?? (fallback === undefined ? '' : String(fallback))}
      onChange={(event) => onChange(event.currentTarget.value || null)}
      inputContainer={(children) => (
        <Beside toggle={toggle} width={480}>
          {children}
        </Beside>
      )}
    />
  );
}

function SwitchEntry({
  schema,
  value,
  form: _,
  onChange,
  toggle,
  ...entry
}: EntryProps & { toggle: ReactNode }) {
  const checked = typeof value === 'boolean' ? value : schema['x-default'] === true;
  const { required: __, ...rest } = entry;
  return (
    <Group wrap="nowrap" align="flex-start" justify="space-between" gap="xs">
      <Switch {...rest} checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />
      {toggle}
    </Group>
  );
}

function Beside({ toggle, width, children }: { toggle: ReactNode; width?: number; children: ReactNode }) {
  return (
    <Group wrap="nowrap" gap={4} align="center">
      <Stack gap={0} flex={1} miw={0} maw={width}>
        {children}
      </Stack>
      {toggle}
    </Group>
  );
}

function isScalar(value: unknown): boolean {
  return ['string', 'number', 'boolean'].includes(typeof value);
}
