import { ActionIcon, Button, Group, Input, Paper, SimpleGrid, Stack, Text } from '@mantine/core';
import StandardArray from '@rjsf/core/lib/components/fields/ArrayField.js';
import StandardObject from '@rjsf/core/lib/components/fields/ObjectField.js';
import type {
  ArrayFieldItemTemplateProps,
  ArrayFieldTemplateProps,
  FieldProps,
  FieldTemplateProps,
  ObjectFieldTemplateProps,
  ValidatorType,
} from '@rjsf/utils';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { type FieldPath, formatFieldPath } from '../../../src/contract/field-path.ts';
import { isCredentialHeader, isCredentialProperty } from '../../../src/contract/secret-places.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { type FormState, useFormState } from './form-context.ts';
import type { Body, FieldSchema } from './form-schema.ts';
import { FormSections } from './form-sections.tsx';
import { ListField } from './list-field.tsx';
import { MapField } from './map-field.tsx';
import { ValueEntry } from './value-entry.tsx';

/** The API judges a body, and the form's schema has no alternatives to choose among: nothing is compiled here. */
export const validator: ValidatorType<Body> = {
  validateFormData: () => ({ errors: [], errorSchema: {} }),
  isValid: () => true,
  rawValidation: () => ({ errors: [] }),
};

function LeafField({ schema, formData, onChange, fieldPathId, required }: FieldProps) {
  const form = useFormState();
  const { path } = fieldPathId;
  return (
    <ValueEntry
      schema={schema as FieldSchema}
      path={path}
      value={formData}
      onChange={(value) => onChange(value, path)}
      required={Boolean(required) || (path.length === 1 && form.required.has(String(path[0])))}
      credential={credentialOf(form, path)}
    />
  );
}

/** For the value of a header or property that carries a credential by its name. */
function credentialOf(form: FormState, path: FieldPath): { stored: boolean } | undefined {
  const [list, index, member] = path;
  if (path.length !== 3 || typeof index !== 'number' || member !== 'value') return undefined;
  const kind = form.schema.properties?.[String(list)]?.['x-secret'];
  if (kind !== 'header-values' && kind !== 'property-values') return undefined;
  const itemsOf = (body: Body | null) => (body?.[String(list)] ?? []) as (Body | null)[];
  const item = itemsOf(form.body)[index];
  const isCredential =
    kind === 'header-values'
      ? isCredentialHeader(item?.['name'])
      : isCredentialProperty(item?.['name'], item?.['valueType']);
  if (!isCredential) return undefined;
  const keyOf = (one: Body | null | undefined) => String(one?.['name']).trim().toLowerCase();
  return { stored: itemsOf(form.stored).some((one) => keyOf(one) === keyOf(item)) };
}

function ObjectOrMap(props: FieldProps) {
  const schema = props.schema as FieldSchema;
  if (!schema['x-values']) return <StandardObject {...props} />;
  const { path } = props.fieldPathId;
  return (
    <MapField
      schema={schema}
      path={path}
      value={props.formData}
      onChange={(value) => props.onChange(value, path)}
    />
  );
}

function ListOrArray(props: FieldProps) {
  const schema = props.schema as FieldSchema;
  if (schema.items?.type === 'object') return <StandardArray {...(props as FieldProps<unknown[]>)} />;
  const { path } = props.fieldPathId;
  return (
    <ListField
      schema={schema}
      path={path}
      value={props.formData}
      onChange={(value) => props.onChange(value, path)}
      required={Boolean(props.required)}
    />
  );
}

function Bare({ children }: FieldTemplateProps) {
  return children;
}

function ObjectTemplate({ schema, title, description, properties, fieldPathId }: ObjectFieldTemplateProps) {
  const { path } = fieldPathId;
  const form = useFormState();
  if (path.length === 0) return <FormSections properties={properties} />;
  const members = (
    <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm" flex={1} miw={0}>
      {properties.map(({ name, content }) => (
        <div key={name}>{content}</div>
      ))}
    </SimpleGrid>
  );
  // An item of a list is named by the list.
  if (typeof path.at(-1) === 'number') return members;
  const key = formatFieldPath(path);
  const fault = form.faults.get(key);
  return (
    <Paper withBorder p="sm" role="group" aria-label={title || String(schema.title)} data-field={key}>
      <Input.Label labelElement="div">{title}</Input.Label>
      <Input.Description mb="xs">{description}</Input.Description>
      {members}
      {fault && <Input.Error>{texts.fault(title, fault)}</Input.Error>}
    </Paper>
  );
}

function ArrayTemplate({
  title,
  schema,
  items,
  canAdd,
  onAddClick,
  fieldPathId,
  required,
}: ArrayFieldTemplateProps) {
  const form = useFormState();
  const key = formatFieldPath(fieldPathId.path);
  const fault = form.faults.get(key);
  return (
    <Stack gap={0} data-field={key} role="group" aria-label={title}>
      <Input.Label labelElement="div" required={Boolean(required)}>
        {title}
      </Input.Label>
      {schema.description && <Input.Description>{schema.description}</Input.Description>}
      <Stack gap="xs" mt={4}>
        {items.length === 0 && (
          <Text size="sm" c="dimmed">
            {texts.emptyList}
          </Text>
        )}
        {items}
        {fault && <Input.Error>{texts.fault(title, fault)}</Input.Error>}
        {canAdd && !form.readonly && (
          <Button
            variant="default"
            size="xs"
            leftSection={<IconPlus size={14} />}
            onClick={(event) => onAddClick(event)}
            w="fit-content"
          >
            {texts.add(title)}
          </Button>
        )}
      </Stack>
    </Stack>
  );
}

function ArrayItemTemplate({
  children,
  buttonsProps,
  index,
  registry: _,
  schema,
}: ArrayFieldItemTemplateProps) {
  const form = useFormState();
  const path = buttonsProps.fieldPathId.path;
  const list = form.schema.properties?.[String(path[0])];
  const label = list?.title ?? schema.title ?? String(path[0]);
  const fault = form.faults.get(formatFieldPath(path));
  return (
    <Paper withBorder p="xs" role="group" aria-label={texts.item(label, index + 1)}>
      <Group align="flex-start" gap="xs" wrap="nowrap">
        {children}
        {buttonsProps.hasRemove && !form.readonly && (
          <ActionIcon
            variant="subtle"
            color="red"
            aria-label={texts.removeItem(label, index + 1)}
            onClick={buttonsProps.onRemoveItem}
          >
            <IconTrash size={16} />
          </ActionIcon>
        )}
      </Group>
      {fault && <Input.Error>{texts.fault(label, fault)}</Input.Error>}
    </Paper>
  );
}

export const fields = {
  StringField: LeafField,
  NumberField: LeafField,
  BooleanField: LeafField,
  ObjectField: ObjectOrMap,
  ArrayField: ListOrArray,
};

export const templates = {
  FieldTemplate: Bare,
  ObjectFieldTemplate: ObjectTemplate,
  ArrayFieldTemplate: ArrayTemplate,
  ArrayFieldItemTemplate: ArrayItemTemplate,
};
