import { Badge, Tooltip } from '@mantine/core';
import type { ConnectionState } from '../../../client/plugboard.ts';
import { states } from '../texts/states.ts';

const colours: Readonly<Record<ConnectionState, string>> = {
  works: 'teal',
  failing: 'red',
  deployed: 'blue',
  refused: 'red',
  pending: 'gray',
  noWorker: 'yellow',
  notDeployed: 'gray',
  disabled: 'gray',
};

/** Colour and words, never colour alone. */
export function StateBadge({
  state,
  label,
  text = label ? `${label}: ${states[state].label}` : states[state].label,
  detail,
}: {
  state: ConnectionState;
  label?: string;
  /** In place of the state's own name. */
  text?: string;
  detail?: string | null | undefined;
}) {
  const badge = (
    <Badge
      variant="light"
      color={colours[state]}
      tt="none"
      autoContrast
      leftSection={<span aria-hidden>{states[state].mark}</span>}
      miw={0}
    >
      {text}
    </Badge>
  );
  return (
    <Tooltip
      label={detail || states[state].help}
      multiline
      maw={420}
      style={{ whiteSpace: 'pre-line', overflowWrap: 'anywhere' }}
      events={{ hover: true, focus: true, touch: true }}
    >
      {badge}
    </Tooltip>
  );
}
