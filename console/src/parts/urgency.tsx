import { Badge, Group } from '@mantine/core';
import { urgency as texts } from '../texts/forms.ts';
import { Ago } from './time.tsx';

/** From when on an end is said to be near, as the API's warnings have it. */
const soonMs = 30 * 86_400_000;

/** When something ends, and whether that is soon or past. */
export function Urgency({ at }: { at: string }) {
  const left = Date.parse(at) - Date.now();
  const [color, label] =
    left <= 0
      ? (['red', texts.ended] as const)
      : left < soonMs
        ? (['yellow', texts.soon] as const)
        : (['gray', texts.valid] as const);
  return (
    <Group gap={6} wrap="nowrap">
      <Badge color={color} variant="light" tt="none" autoContrast flex="none">
        {label}
      </Badge>
      <Ago at={at} />
    </Group>
  );
}
