import { Button, Checkbox, Group, ScrollArea, Table, Text, VisuallyHidden } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { TextLink } from '../parts/links.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { useFiltered } from '../parts/use-filtered.tsx';
import { useSession } from '../session/session.tsx';
import { actions, projects as texts } from '../texts/access.ts';
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
        <ScrollArea>
          <Table miw={560} verticalSpacing="xs" aria-label={texts.title}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{texts.name}</Table.Th>
                <Table.Th>{texts.environments}</Table.Th>
                <Table.Th>
                  <VisuallyHidden>{actions}</VisuallyHidden>
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {shown.map(({ name, description, environments, permissions }) => {
                const mayEdit = permissions.includes('PROJECT:MANAGE');
                return (
                  <Table.Tr key={name}>
                    <Table.Td className="break">
                      <TextLink to={`/ui/p/${encodeURIComponent(name)}`} size="sm">
                        {name}
                      </TextLink>
                      {description && (
                        <Text size="xs" c="dimmed">
                          {description}
                        </Text>
                      )}
                    </Table.Td>
                    <Table.Td className="break">
                      {environments.length === 0 ? texts.noEnvironment : environments.join(', ')}
                    </Table.Td>
                    <Table.Td>
                      <Group gap={4} wrap="nowrap" justify="flex-end">
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
                      </Group>
                    </Table.Td>
                  </Table.Tr>
                );
              })}
            </Table.Tbody>
          </Table>
        </ScrollArea>
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
