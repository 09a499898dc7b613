import { Button, Group, Text, TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { type ReactNode, useDeferredValue, useState } from 'react';
import { common } from '../texts/common.ts';
import { forms as texts } from '../texts/forms.ts';

const step = 100;
/** Fewer are seen at a glance. */
const searchedFrom = 8;

/** A list by the text that is looked for, a hundred at a time: with its field, and the button for more. */
export function useFiltered<Item>(
  things: string,
  items: readonly Item[],
  textOf: (item: Item) => string,
): { shown: readonly Item[]; field: ReactNode; more: ReactNode } {
  const [text, setText] = useState('');
  const [limit, setLimit] = useState(step);
  const wanted = useDeferredValue(text).trim().toLowerCase();
  const found = wanted ? items.filter((item) => textOf(item).toLowerCase().includes(wanted)) : items;
  return {
    shown: found.slice(0, limit),
    field: (items.length >= searchedFrom || text !== '') && (
      <TextInput
        type="search"
        aria-label={texts.filter(things)}
        placeholder={texts.filter(things)}
        leftSection={<IconSearch size={16} />}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        mb="sm"
        maw={360}
      />
    ),
    more: (
      <>
        {items.length > 0 && found.length === 0 && (
          <Text c="dimmed" size="sm">
            {texts.nothingMatches}
          </Text>
        )}
        {found.length > limit && (
          <Group mt="sm">
            <Button variant="default" onClick={() => setLimit(limit + step)}>
              {common.showMore}
            </Button>
            <Text size="sm" c="dimmed">
              {common.of(limit, found.length)}
            </Text>
          </Group>
        )}
      </>
    ),
  };
}
