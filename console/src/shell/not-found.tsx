import { Text } from '@mantine/core';
import { shell } from '../texts/shell.ts';

export function NotFound() {
  return <Text p="xl">{shell.notFound}</Text>;
}
