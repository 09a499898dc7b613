import { Alert, Button, Group, Modal, Skeleton, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { type ListAnswer, PlugboardError } from '../../../client/plugboard.ts';
import { useSession } from '../session/session.tsx';
import { common } from '../texts/common.ts';
import { forms as texts } from '../texts/forms.ts';
import { ErrorAlert } from './error-alert.tsx';
import { faultsOf } from './field-faults.ts';

/** A dialog with a form: a click beside it does not lose what was typed. */
export function FormDialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose(): void;
  children: ReactNode;
}) {
  return (
    <Modal
      opened
      onClose={onClose}
      title={title}
      size="lg"
      closeOnClickOutside={false}
      closeButtonProps={{ 'aria-label': common.close }}
    >
      {children}
    </Modal>
  );
}

/** The form itself, with its failure and its buttons; `placed` are the top-level fields that show their own faults. */
export function DialogForm({
  save,
  onClose,
  placed,
  action = common.save,
  children,
}: {
  /** Throws what the form is to show. */
  save(): Promise<unknown>;
  onClose(): void;
  placed: readonly string[];
  action?: string;
  children: (failure: unknown) => ReactNode;
}) {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (failure !== null) form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [failure]);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    // A dialog within this one is no child of it on the page, but its events come here.
    event.stopPropagation();
    setBusy(true);
    setFailure(null);
    try {
      await save();
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form ref={form} onSubmit={submit} autoComplete="off">
      <Stack>
        {children(failure)}
        {failure !== null && <Failure error={failure} placed={placed} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {common.cancel}
          </Button>
          <Button type="submit" loading={busy}>
            {action}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Failure({ error, placed }: { error: unknown; placed: readonly string[] }) {
  if (error instanceof PlugboardError && error.status === 412)
    return (
      <Alert color="red" role="alert">
        {texts.changedMeanwhile}
      </Alert>
    );
  const faults = faultsOf(error);
  const allPlaced =
    faults.length > 0 && faults.every(({ field }) => placed.includes(/^[^.[]*/.exec(field)?.[0] ?? ''));
  if (!allPlaced) return <ErrorAlert error={error} />;
  return (
    <Alert color="red" role="alert">
      {texts.markedFields}
    </Alert>
  );
}

/** Something as it was read to be edited, with the tag that its change is made for. */
export interface Loaded<View> {
  view: View;
  etag: string;
}

/** Reads what is to be edited, anew each time. */
export function ForEdit<View>({
  path,
  children,
}: {
  path: string;
  children: (loaded: Loaded<View>) => ReactNode;
}) {
  const { plugboard } = useSession();
  const read = useQuery({
    queryKey: ['edit', path],
    queryFn: async ({ signal }): Promise<Loaded<View>> => {
      const { answer, headers } = await plugboard.exchange<ListAnswer<View>>('GET', path, { signal });
      return { view: answer.resultList[0]!, etag: headers.get('etag') ?? '*' };
    },
    gcTime: 0,
    staleTime: 'static',
  });
  if (read.error) return <ErrorAlert error={read.error} onRetry={() => void read.refetch()} />;
  if (!read.data) return <Skeleton height={280} />;
  return children(read.data);
}
