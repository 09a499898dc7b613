import { Button, Group, Skeleton, Stack, Text, Title } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { useParams } from 'react-router';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { type Change, ChangeOutcome } from '../parts/change-outcome.tsx';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { useFiltered } from '../parts/use-filtered.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { keys as texts } from '../texts/keys.ts';
import { CertificateDialog } from './certificate-dialog.tsx';
import { CertificateCard, KeystoreCard } from './key-cards.tsx';
import { KeystoreDialog } from './keystore-dialog.tsx';
import { MasterKeys } from './master-keys.tsx';
import { type Certificate, type Keystore, keysApi } from './stored-keys.ts';

type Kind = 'keystores' | 'certificates';
type Asking = { kind: Kind; what: 'edit' | 'remove'; name: string } | { kind: Kind; what: 'new' } | null;

/** Keystores and certificates of a project, with what they hold and when that ends. */
export function KeysPage() {
  const { project = '' } = useParams();
  const { plugboard, me } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const [asking, setAsking] = useState<Asking>(null);
  const [change, setChange] = useState<Change | null>(null);
  const keystores = useKeys<Keystore>(project, 'keystores');
  const certificates = useKeys<Certificate>(project, 'certificates');
  if (!may('KEYS:VIEW'))
    return (
      <>
        <PageHeader title={texts.title} />
        <EmptyState title={common.notGranted('KEYS:VIEW')} />
      </>
    );
  const disabledBecause = may('KEYS:MANAGE') ? undefined : common.notGranted('KEYS:MANAGE');
  const close = () => setAsking(null);
  const refresh = (kind: Kind) => queries.invalidateQueries({ queryKey: [project, kind] });
  const saved = async (kind: Kind, made: Change) => {
    setAsking(null);
    setChange(made);
    await refresh(kind);
  };
  const edited = asking?.what === 'edit' ? asking.name : null;
  const removed = asking?.what === 'remove' ? asking : null;
  const actions = (kind: Kind, name: string) => ({
    disabledBecause,
    onEdit: () => setAsking({ kind, what: 'edit', name }),
    onRemove: () => setAsking({ kind, what: 'remove', name }),
  });
  return (
    <>
      <PageHeader title={texts.title} summary={texts.summary}>
        <Button
          leftSection={<IconPlus size={16} />}
          onClick={() => setAsking({ kind: 'keystores', what: 'new' })}
          disabled={disabledBecause !== undefined}
          title={disabledBecause}
        >
          {texts.newKeystore}
        </Button>
        <Button
          variant="default"
          leftSection={<IconPlus size={16} />}
          onClick={() => setAsking({ kind: 'certificates', what: 'new' })}
          disabled={disabledBecause !== undefined}
          title={disabledBecause}
        >
          {texts.newCertificate}
        </Button>
      </PageHeader>
      <ChangeOutcome change={change} onClose={() => setChange(null)} />
      <Stack gap="xl">
        <Section
          title={texts.keystores}
          none={texts.noKeystores}
          noneHelp={texts.noKeystoresHelp}
          read={keystores}
          card={(keystore) => (
            <KeystoreCard key={keystore.name} keystore={keystore} {...actions('keystores', keystore.name)} />
          )}
        />
        <Section
          title={texts.certificates}
          none={texts.noCertificates}
          noneHelp={texts.noCertificatesHelp}
          read={certificates}
          card={(certificate) => (
            <CertificateCard
              key={certificate.name}
              certificate={certificate}
              {...actions('certificates', certificate.name)}
            />
          )}
        />
        {me.admin && <MasterKeys />}
      </Stack>
      {asking?.kind === 'keystores' && asking.what !== 'remove' && (
        <KeystoreDialog
          project={project}
          name={edited}
          onClose={close}
          onSaved={(made) => void saved('keystores', made)}
        />
      )}
      {asking?.kind === 'certificates' && asking.what !== 'remove' && (
        <CertificateDialog
          project={project}
          name={edited}
          onClose={close}
          onSaved={(made) => void saved('certificates', made)}
        />
      )}
      <ConfirmDialog
        title={texts.removeTitle(removed?.name ?? '')}
        action={common.remove}
        opened={removed !== null}
        onClose={close}
        onConfirm={async () => {
          const { kind, name } = removed!;
          await plugboard.request('DELETE', keysApi(project, kind, name));
          setChange(null);
          await refresh(kind);
        }}
      >
        {removed?.kind === 'certificates' ? texts.removeCertificate : texts.removeKeystore}
      </ConfirmDialog>
    </>
  );
}

function useKeys<Item>(project: string, kind: Kind) {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  return useQuery({
    queryKey: [project, kind],
    queryFn: ({ signal }) => plugboard.request<ListAnswer<Item>>('GET', keysApi(project, kind), { signal }),
    enabled: may('KEYS:VIEW'),
  });
}

function Section<Item extends { name: string; description: string | null }>({
  title,
  none,
  noneHelp,
  read,
  card,
}: {
  title: string;
  none: string;
  noneHelp: string;
  read: ReturnType<typeof useKeys<Item>>;
  card: (item: Item) => ReactNode;
}) {
  const list = read.data?.resultList;
  const { shown, field, more } = useFiltered(
    title,
    list ?? [],
    ({ name, description }) => `${name} ${description ?? ''}`,
  );
  return (
    <section aria-label={title}>
      <Title order={2} size="h5" mb="xs">
        {title}
        {list && list.length > 0 && (
          <Text span c="dimmed" size="sm" ml="xs">
            {list.length}
          </Text>
        )}
      </Title>
      {read.error && <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />}
      {read.isPending && <Skeleton height={120} />}
      {list?.length === 0 && (
        <Group gap="xs">
          <Text size="sm" fw={600}>
            {none}
          </Text>
          <Text size="sm" c="dimmed">
            {noneHelp}
          </Text>
        </Group>
      )}
      {field}
      <Stack gap="sm">{shown.map(card)}</Stack>
      {more}
    </section>
  );
}
