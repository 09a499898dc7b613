import { Button, Checkbox, Text } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { TextLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { Row, RowList } from '../parts/row-list.tsx';
import { useFiltered } from '../parts/use-filtered.tsx';
import { useSession } from '../session/session.tsx';
import { projects as texts } from '../texts/access.ts';
import { common } from '../texts/common.ts';
import { ProjectDialog, projectsApi } from './project-dialog.tsx';

/** The projects that the token sees: made, changed and deleted by those who may. */
export function ProjectsPage() {
  const { plugboard, me, refresh } = useSession();
  const [asking, setAsking] = useState<{ what: 'edit' | 'remove'; name: string } | 'new' | null>(null);
  const [force, setForce] = useState(false);
  const { shown, field, more } = useFiltered(
    texts.title,
    me.projects,
    ({ name, description }) => `${name} ${description ?? ''}`,
  );
  const close = () => {
    setAsking(null);
    setForce(false);
  };
  const removed = asking !== 'new' && asking?.what === 'remove' ? asking.name : null;
  const adminOnly = { disabled: !me.admin, title: me.admin ? undefined : texts.adminOnly };
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        <Button leftSection={<IconPlus size={16} />} onClick={() => setAsking('new')} {...adminOnly}>
          {texts.newProject}
        </Button>
      </PageHeader>
      {me.projects.length === 0 && <EmptyState title={texts.none} help={texts.noneHelp} />}
      {field}
      {shown.length > 0 && (
        <RowList label={texts.title}>
          {shown.map(({ name, description, environments, permissions }) => {
            const mayEdit = permissions.includes('PROJECT:MANAGE');
            return (
              <Row
                key={name}
                head={<TextLink to={`/ui/p/${encodeURIComponent(name)}`}>{name}</TextLink>}
                detail={description}
                actions={
                  <>
                    <Button
                      variant="default"
                      size="compact-sm"
                      aria-label={texts.edit(name)}
                      disabled={!mayEdit}
                      title={mayEdit ? undefined : common.notGranted('PROJECT:MANAGE')}
                      onClick={() => setAsking({ what: 'edit', name })}
                    >
                      {common.edit}
                    </Button>
                    <Button
                      variant="subtle"
                      color="red"
                      size="compact-sm"
                      aria-label={texts.remove(name)}
                      onClick={() => setAsking({ what: 'remove', name })}
                      {...adminOnly}
                    >
                      {common.remove}
                    </Button>
                  </>
                }
              >
                <Text size="sm">
                  <Text span inherit c="dimmed">
                    {texts.environments}:{' '}
                  </Text>
                  {environments.length === 0 ? texts.noEnvironment : environments.join(', ')}
                </Text>
              </Row>
            );
          })}
        </RowList>
      )}
      {more}
      {asking && removed === null && (
        <ProjectDialog
          name={asking === 'new' ? null : asking.name}
          onClose={close}
          onSaved={async () => {
            await refresh();
            close();
          }}
        />
      )}
      <ConfirmDialog
        title={texts.removeTitle(removed ?? '')}
        action={common.remove}
        typed={removed ?? ''}
        opened={removed !== null}
        onClose={close}
        onConfirm={async () => {
          await plugboard.request('DELETE', projectsApi(removed!), { query: { force } });
          await refresh();
        }}
      >
        <Text size="sm">{texts.removeHelp}</Text>
        <Checkbox
          label={texts.force}
          description={texts.forceHelp}
          checked={force}
          onChange={(event) => setForce(event.currentTarget.checked)}
        />
      </ConfirmDialog>
    </>
  );
}
