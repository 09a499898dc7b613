import { Alert, Button, Code, Group, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { ConfirmDialog } from '../parts/confirm.tsx';
import { Ago } from '../parts/time.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { connection } from '../texts/connection.ts';

const texts = connection.hostKey;

/** The SSH host key that an environment trusts, as `GET …/deployments/` tells it. */
export interface HostKey {
  server: string;
  algorithm: string;
  fingerprint: string;
  pinnedAt: string;
  pinnedBy: string;
  refused?: { algorithm: string; fingerprint: string; at: string };
}

/** Shows the trusted key, and lets one accept another that was refused. */
export function HostKeyLine({
  project,
  name,
  environment,
  hostKey,
}: {
  project: string;
  name: string;
  environment: string;
  hostKey: HostKey;
}) {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const queries = useQueryClient();
  const [asking, setAsking] = useState(false);
  const lacking = (['CONNECTIONS:MANAGE', 'CONNECTIONS:TEST'] as const).find(
    (permission) => !may(permission),
  );
  const { refused } = hostKey;
  const trust = useMutation({
    mutationFn: () => plugboard.trustHostKey(project, name, refused!.fingerprint, { environment }),
    onSettled: () => queries.invalidateQueries({ queryKey: [project] }),
  });
  return (
    <>
      <Text size="sm" c="dimmed" className="break" mb="xs">
        {texts.trusted(hostKey.server)} {hostKey.algorithm} <Code>{hostKey.fingerprint}</Code>,{' '}
        {hostKey.pinnedBy}, <Ago at={hostKey.pinnedAt} />
      </Text>
      {refused && (
        <Alert color="red" title={texts.changed} mb="xs">
          <Text size="sm" className="break">
            {refused.algorithm} <Code>{refused.fingerprint}</Code>, <Ago at={refused.at} />
          </Text>
          <Text size="sm">{texts.warning}</Text>
          <Group mt="xs">
            <Button
              size="xs"
              color="red"
              variant="outline"
              disabled={lacking !== undefined}
              title={lacking && connection.lacks(lacking)}
              onClick={() => setAsking(true)}
            >
              {texts.trust}
            </Button>
          </Group>
        </Alert>
      )}
      <ConfirmDialog
        title={texts.trust}
        action={texts.trust}
        opened={asking}
        onClose={() => setAsking(false)}
        onConfirm={() => trust.mutateAsync()}
      >
        {texts.confirm}
      </ConfirmDialog>
    </>
  );
}
