import { Button, Code, Skeleton, Stack, Text } from '@mantine/core';
import { IconEyeOff, IconPlus } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useParams } from 'react-router';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { type Change, ChangeOutcome } from '../parts/change-outcome.tsx';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { Row, RowList } from '../parts/row-list.tsx';
import { useFiltered } from '../parts/use-filtered.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { variables as texts } from '../texts/variables.ts';
import { type Variable, variablesApi } from './variable.ts';
import { VariableDialog } from './variable-dialog.tsx';

const none: Variable[] = [];

/** Variables of a project, with their value in each environment; hidden ones say only that they are. */
export function VariablesPage() {
  const { project = '' } = useParams();
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const [asking, setAsking] = useState<{ what: 'edit' | 'remove'; name: string } | 'new' | null>(null);
  const [change, setChange] = useState<Change | null>(null);
  const read = useQuery({
    queryKey: [project, 'variables', 'page'],
    queryFn: ({ signal }) =>
      plugboard.request<ListAnswer<Variable>>('GET', variablesApi(project), { signal }),
    enabled: may('VARIABLES:VIEW'),
  });
  const list = read.data?.resultList ?? none;
  const { shown, field, more } = useFiltered(
    texts.title,
    list,
    ({ name, description, globalValue, environmentValueList }) =>
      [name, description, globalValue, ...environmentValueList.map(({ value }) => value)].join(' '),
  );
  if (!may('VARIABLES:VIEW'))
    return (
      <>
        <PageHeader title={texts.title} />
        <EmptyState title={common.notGranted('VARIABLES:VIEW')} />
      </>
    );
  const disabledBecause = may('VARIABLES:MANAGE') ? undefined : common.notGranted('VARIABLES:MANAGE');
  const disabled = { disabled: disabledBecause !== undefined, title: disabledBecause };
  const close = () => setAsking(null);
  const refresh = () => queries.invalidateQueries({ queryKey: [project] });
  const removed = asking !== 'new' && asking?.what === 'remove' ? asking.name : null;
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setAsking('new')} {...disabled}>
          {texts.newVariable}
        </Button>
      </PageHeader>
      <ChangeOutcome change={change} onClose={() => setChange(null)} />
      {read.error && <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />}
      {read.isPending && <Skeleton height={200} />}
      {read.data && list.length === 0 && <EmptyState title={texts.none} help={texts.noneHelp} />}
      {field}
      {shown.length > 0 && (
        <RowList label={texts.title}>
          {shown.map((variable) => (
            <Row
              key={variable.name}
              head={<Code>{variable.name}</Code>}
              detail={variable.description}
              actions={
                <>
                  <Button
                    variant="default"
                    size="compact-sm"
                    aria-label={texts.edit(variable.name)}
                    onClick={() => setAsking({ what: 'edit', name: variable.name })}
                    {...disabled}
                  >
                    {common.edit}
                  </Button>
                  <Button
                    variant="subtle"
                    color="red"
                    size="compact-sm"
                    aria-label={texts.remove(variable.name)}
                    onClick={() => setAsking({ what: 'remove', name: variable.name })}
                    {...disabled}
                  >
                    {common.remove}
                  </Button>
                </>
              }
            >
              <Values of={variable} />
            </Row>
          ))}
        </RowList>
      )}
      {more}
      {asking && removed === null && (
        <VariableDialog
          project={project}
          name={asking === 'new' ? null : asking.name}
          onClose={close}
          onSaved={(made) => {
            close();
            setChange(made);
            void refresh();
          }}
        />
      )}
      <ConfirmDialog
        title={texts.removeTitle(removed ?? '')}
        action={common.remove}
        opened={removed !== null}
        onClose={close}
        onConfirm={async () => {
          await plugboard.request('DELETE', variablesApi(project, removed!));
          setChange(null);
          await refresh();
        }}
      >
        {texts.removeHelp}
      </ConfirmDialog>
    </>
  );
}

function Values({ of: { global, globalValue, globalVisible, environmentValueList } }: { of: Variable }) {
  const own = environmentValueList.length > 0;
  return (
    <Stack gap={2}>
      {environmentValueList.map(({ environmentName, value, visible }) => (
        <Value key={environmentName} place={environmentName} value={value} visible={visible} />
      ))}
      {global && (
        <Value place={own ? texts.everywhere : texts.global} value={globalValue} visible={globalVisible} />
      )}
      {!global && !own && (
        <Text size="sm" c="dimmed">
          {texts.noValue}
        </Text>
      )}
    </Stack>
  );
}

/** What is longer is no text to be read at a glance. */
const shownCharacters = 200;

function Value({ place, value, visible }: { place: string; value: string | null; visible: boolean }) {
  return (
    <Text size="sm" className="break" component="div">
      <Text span inherit c="dimmed">
        {place}:{' '}
      </Text>
      {!visible && (
        <Text span inherit fs="italic">
          <IconEyeOff size={14} aria-hidden style={{ verticalAlign: '-2px' }} /> {texts.hidden}
        </Text>
      )}
      {visible && (value === null || value === '') && (
        <Text span inherit fs="italic">
          {value === null ? texts.notShown : texts.emptyValue}
        </Text>
      )}
      {visible && value && (
        <Text span inherit ff="monospace" size="xs">
          {value.slice(0, shownCharacters)}
          {value.length > shownCharacters && texts.characters(value.length)}
        </Text>
      )}
    </Text>
  );
}
