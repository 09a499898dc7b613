import { Badge, Button, Group, Modal, Paper, SegmentedControl, SimpleGrid, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { common } from '../texts/common.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import type { Body, FieldSchema } from './form-schema.ts';
import { type Difference, differences, merged } from './merge.ts';

type Side = 'mine' | 'theirs';

/** My version and somebody else's, field by field, to choose from. */
export function MergeDialog({
  schema,
  base,
  mine,
  theirs,
  onClose,
  onMerged,
}: {
  schema: FieldSchema;
  base: Body;
  mine: Body;
  theirs: Body;
  onClose(): void;
  onMerged(body: Body, save: boolean): void;
}) {
  const found = differences(base, mine, theirs);
  const [chosen, setChosen] = useState<Partial<Record<string, Side>>>(() =>
    Object.fromEntries(
      found.flatMap(({ name, changedBy }) =>
        changedBy === 'both' ? [] : [[name, changedBy === 'me' ? 'mine' : 'theirs']],
      ),
    ),
  );
  const undecided = found.filter(({ name }) => chosen[name] === undefined).length;
  const finish = (save: boolean) =>
    onMerged(
      merged(theirs, mine, new Set(found.map(({ name }) => name).filter((name) => chosen[name] === 'mine'))),
      save,
    );
  return (
    <Modal
      opened
      onClose={onClose}
      title={texts.mergeTitle}
      size="xl"
      closeButtonProps={{ 'aria-label': common.close }}
    >
      <Stack>
        <Text size="sm">{found.length === 0 ? texts.mergeSame : texts.mergeHelp}</Text>
        {found.map((difference) => (
          <Choice
            key={difference.name}
            difference={difference}
            field={schema.properties?.[difference.name]}
            chosen={chosen[difference.name]}
            onChoose={(side) => setChosen((all) => ({ ...all, [difference.name]: side }))}
          />
        ))}
        <Group justify="flex-end">
          {undecided > 0 && (
            <Text size="sm" role="status">
              {texts.mergeUndecided(undecided)}
            </Text>
          )}
          <Button variant="default" onClick={onClose}>
            {common.cancel}
          </Button>
          <Button variant="default" disabled={undecided > 0} onClick={() => finish(false)}>
            {texts.mergeTake}
          </Button>
          <Button disabled={undecided > 0} onClick={() => finish(true)}>
            {texts.mergeSave}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function Choice({
  difference: { name, mine, theirs, changedBy },
  field,
  chosen,
  onChoose,
}: {
  difference: Difference;
  field: FieldSchema | undefined;
  chosen: Side | undefined;
  onChoose(side: Side): void;
}) {
  const label = field?.title ?? name;
  const by = { me: texts.changedByMe, them: texts.changedByThem, both: texts.changedByBoth }[changedBy];
  return (
    <Paper withBorder p="sm" role="group" aria-label={label}>
      <Group justify="space-between" mb="xs" gap="xs">
        <Group gap="xs">
          <Text fw={600} size="sm">
            {label}
          </Text>
          <Badge variant="light" color={changedBy === 'both' ? 'yellow' : 'gray'} tt="none" autoContrast>
            {by}
          </Badge>
        </Group>
        <SegmentedControl
          size="xs"
          aria-label={texts.choose(label)}
          data={[
            { value: 'mine', label: texts.mine },
            { value: 'theirs', label: texts.theirs },
          ]}
          value={chosen ?? ''}
          onChange={(side) => onChoose(side as Side)}
        />
      </Group>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="xs">
        <Version side={texts.mine} value={mine} field={field} />
        <Version side={texts.theirs} value={theirs} field={field} />
      </SimpleGrid>
    </Paper>
  );
}

function Version({ side, value, field }: { side: string; value: unknown; field: FieldSchema | undefined }) {
  return (
    <div>
      <Text size="xs" c="dimmed">
        {side}
      </Text>
      <Text size="sm" ff="monospace" className="break">
        {shown(value, field)}
      </Text>
    </div>
  );
}

function shown(value: unknown, field: FieldSchema | undefined): string {
  if (field?.['x-secret'] === 'value') {
    if (value === '') return texts.forgotten;
    return value === null ? texts.secretStored : texts.secretNew;
  }
  if (value === null || value === '') return texts.notSet;
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 1);
  return text.length > 600 ? `${text.slice(0, 600)} … (${texts.characters(text.length)})` : text;
}
