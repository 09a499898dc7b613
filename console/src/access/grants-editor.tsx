import {
  Button,
  Checkbox,
  Fieldset,
  Group,
  Input,
  Select,
  SimpleGrid,
  Stack,
  TagsInput,
  Text,
} from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { faultAt, faultsOf } from '../parts/field-faults.ts';
import { useSession } from '../session/session.tsx';
import { permissionTexts, grants as texts } from '../texts/access.ts';
import type { Grant } from './grant.ts';

/** Grants, each of a project with permissions and what narrows them; `bounded` to what the present token may itself. */
export function GrantsEditor({
  grants,
  onChange,
  bounded,
  failure,
}: {
  grants: readonly Grant[];
  onChange(grants: Grant[]): void;
  bounded: boolean;
  failure: unknown;
}) {
  const { me } = useSession();
  const first = me.projects[0]?.name ?? '*';
  return (
    <Stack gap="sm" role="group" aria-label={texts.title}>
      <Text size="sm" fw={600}>
        {texts.title}
      </Text>
      {grants.length === 0 && (
        <Text size="sm" c="dimmed">
          {texts.none}
        </Text>
      )}
      {faultAt(failure, 'grants') && <Input.Error>{faultAt(failure, 'grants')}</Input.Error>}
      {grants.map((grant, index) => (
        <GrantFields
          // biome-ignore lint/suspicious/noArrayIndexKey: a grant has no name of its own, and all its state is in the list
          key={index}
          number={index + 1}
          grant={grant}
          bounded={bounded}
          fault={(field) => faultWithin(failure, `grants[${index}].${field}`)}
          onChange={(next) => onChange(grants.map((one, at) => (at === index ? next : one)))}
          onRemove={() => onChange(grants.filter((_, at) => at !== index))}
        />
      ))}
      <Group>
        <Button
          variant="default"
          size="xs"
          leftSection={<IconPlus size={14} />}
          onClick={() => onChange([...grants, { project: first, permissions: [] }])}
        >
          {texts.add}
        </Button>
      </Group>
    </Stack>
  );
}

/** Of the field, or of an item in it. */
function faultWithin(failure: unknown, path: string): string | undefined {
  return faultsOf(failure).find(({ field }) => field === path || field.startsWith(`${path}[`))?.message;
}

function GrantFields({
  number,
  grant,
  bounded,
  fault,
  onChange,
  onRemove,
}: {
  number: number;
  grant: Grant;
  bounded: boolean;
  fault(field: string): string | undefined;
  onChange(grant: Grant): void;
  onRemove(): void;
}) {
  const { me } = useSession();
  const project = me.projects.find(({ name }) => name === grant.project);
  const mayGive = (permission: string) =>
    !bounded || me.admin || (project?.permissions.includes(permission) ?? false);
  const projects = [
    ...(me.admin || grant.project === '*' ? [{ value: '*', label: texts.allProjects }] : []),
    ...[...new Set([...me.projects.map(({ name }) => name), grant.project])]
      .filter((name) => name !== '*')
      .map((name) => ({ value: name, label: name })),
  ];
  const environments = project
    ? project.environments
    : [...new Set(me.projects.flatMap((one) => one.environments))].sort();
  const set = (change: Partial<Grant>) => onChange({ ...grant, ...change });
  const narrowed = grant.environments || grant.connections || grant.operations;
  return (
    <Fieldset legend={texts.grant(number)}>
      <Stack gap="sm">
        <Select
          label={texts.project}
          data={projects}
          value={grant.project}
          onChange={(chosen) => chosen && set({ project: chosen })}
          error={fault('project')}
          searchable={projects.length > 8}
          allowDeselect={false}
        />
        <Checkbox.Group
          label={texts.permissions}
          value={grant.permissions}
          onChange={(permissions) => set({ permissions })}
          error={fault('permissions')}
          withAsterisk
        >
          <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs" mt={4}>
            {Object.entries(permissionTexts).map(([permission, help]) => (
              <Checkbox
                key={permission}
                value={permission}
                label={permission}
                description={mayGive(permission) ? help : texts.notYours}
                disabled={!mayGive(permission)}
                size="xs"
              />
            ))}
          </SimpleGrid>
        </Checkbox.Group>
        <details open={narrowed ? true : undefined}>
          <summary>
            <Text span size="sm">
              {texts.narrow}
            </Text>
          </summary>
          <Stack gap="sm" mt="xs">
            <TagsInput
              label={texts.environments}
              placeholder={grant.environments?.length ? '' : texts.everything}
              data={environments}
              value={grant.environments ?? []}
              onChange={(names) => set({ environments: names })}
              error={fault('environments')}
              acceptValueOnBlur
            />
            <TagsInput
              label={texts.connections}
              description={texts.connectionsHelp}
              placeholder={grant.connections?.length ? '' : texts.everything}
              value={grant.connections ?? []}
              onChange={(globs) => set({ connections: globs })}
              error={fault('connections')}
              acceptValueOnBlur
            />
            <TagsInput
              label={texts.operations}
              description={texts.operationsHelp}
              placeholder={grant.operations?.length ? '' : texts.everything}
              value={grant.operations ?? []}
              onChange={(names) => set({ operations: names })}
              error={fault('operations')}
              acceptValueOnBlur
            />
          </Stack>
        </details>
        <Group justify="flex-end">
          <Button variant="subtle" color="red" size="compact-xs" onClick={onRemove}>
            {texts.remove(number)}
          </Button>
        </Group>
      </Stack>
    </Fieldset>
  );
}
