import { Accordion, Badge, Group, Stack, Text } from '@mantine/core';
import type { ObjectFieldTemplateProps } from '@rjsf/utils';
import { useState } from 'react';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { topOf } from './field-faults.ts';
import { useFormState } from './form-context.ts';
import { isDefault, matters, type SectionName, sectionOf, sections } from './form-schema.ts';

/** The fields in their sections; a field that does not matter is shown only when it is set or at fault. */
export function FormSections({ properties }: { properties: ObjectFieldTemplateProps['properties'] }) {
  const { schema, body, faults, required } = useFormState();
  const faultyFields = new Set([...faults.keys()].map(topOf));
  const present = sections.flatMap(({ name, open }) => {
    const all = properties.filter((property) => {
      const field = schema.properties?.[property.name];
      return field && sectionOf(property.name, field) === name;
    });
    const shown = all.filter(
      (property) =>
        matters(schema, property.name, body) ||
        faultyFields.has(property.name) ||
        !isDefault(schema.properties?.[property.name], body[property.name]),
    );
    if (shown.length === 0) return [];
    return [
      {
        name,
        open,
        shown,
        faults: shown.filter((property) => faultyFields.has(property.name)).length,
        changed: shown.some(
          (property) => !isDefault(schema.properties?.[property.name], body[property.name]),
        ),
        needed: shown.some(
          (property) => schema.required?.includes(property.name) || required.has(property.name),
        ),
      },
    ];
  });
  // What was opened and closed by hand; the rest follows from the content.
  const [byHand, setByHand] = useState<Partial<Record<SectionName, boolean>>>({});
  const [beganOpen] = useState(
    () =>
      new Set(
        present.filter(({ open, changed, needed }) => open || changed || needed).map(({ name }) => name),
      ),
  );
  const opened = present
    .filter(
      ({ name, faults: count, needed }) => count > 0 || (byHand[name] ?? (beganOpen.has(name) || needed)),
    )
    .map(({ name }) => name);
  return (
    <Accordion
      multiple
      variant="separated"
      order={2}
      value={opened}
      onChange={(names) =>
        setByHand(Object.fromEntries(present.map(({ name }) => [name, names.includes(name)])))
      }
      transitionDuration={0}
    >
      {present.map(({ name, shown, faults: count, changed, open }) => (
        <Accordion.Item key={name} value={name}>
          <Accordion.Control>
            <Group gap="xs">
              <Text span fw={600}>
                {texts.sections[name]}
              </Text>
              {count > 0 && (
                <Badge color="red" variant="light" tt="none" autoContrast>
                  {texts.sectionFaults(count)}
                </Badge>
              )}
              {!open && changed && count === 0 && (
                <Badge color="gray" variant="light" tt="none">
                  {texts.sectionChanged}
                </Badge>
              )}
            </Group>
          </Accordion.Control>
          <Accordion.Panel>
            <Stack gap="md">
              {shown.map((property) => (
                <div key={property.name}>{property.content}</div>
              ))}
            </Stack>
          </Accordion.Panel>
        </Accordion.Item>
      ))}
    </Accordion>
  );
}
