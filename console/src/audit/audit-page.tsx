import { Group, SegmentedControl, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useState } from 'react';
import { useParams } from 'react-router';
import { EmptyState } from '../parts/empty-state.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { audit as texts } from '../texts/audit.ts';
import { AuditList } from './audit-list.tsx';

/** Who did what in a project; an administrator may look at everything. */
export function AuditPage() {
  const { project = '' } = useParams();
  const { me } = useSession();
  const { may } = usePermissions(project);
  const [everything, setEverything] = useState(false);
  const [typed, setTyped] = useState({ actor: '', action: '', target: '' });
  const [settled] = useDebouncedValue(typed, 300);
  if (!may('AUDIT:VIEW'))
    return (
      <>
        <PageHeader title={texts.title} />
        <EmptyState title={texts.lacking} />
      </>
    );
  const filter = {
    ...(everything ? {} : { project }),
    ...Object.fromEntries(
      Object.entries(settled)
        .map(([name, value]) => [name, value.trim()])
        .filter(([, value]) => value !== ''),
    ),
  };
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        {me.admin && (
          <SegmentedControl
            aria-label={texts.scope}
            value={everything ? 'everything' : 'project'}
            onChange={(value) => setEverything(value === 'everything')}
            data={[
              { value: 'project', label: texts.thisProject },
              { value: 'everything', label: texts.everything },
            ]}
          />
        )}
      </PageHeader>
      <Group mb="sm" gap="sm" grow preventGrowOverflow={false}>
        {(['actor', 'action', 'target'] as const).map((field) => (
          <TextInput
            key={field}
            label={texts[field]}
            placeholder={texts[`${field}Hint`]}
            value={typed[field]}
            onChange={(event) => setTyped({ ...typed, [field]: event.currentTarget.value })}
            maxLength={255}
            miw={180}
          />
        ))}
      </Group>
      <AuditList filter={filter} />
    </>
  );
}
