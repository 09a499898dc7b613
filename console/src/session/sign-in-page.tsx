import {
  Alert,
  Button,
  Center,
  Checkbox,
  Paper,
  PasswordInput,
  SegmentedControl,
  Stack,
  TextInput,
  Title,
} from '@mantine/core';
import { type FormEvent, useEffect, useState } from 'react';
import { PlugboardError } from '../../../client/plugboard.ts';
import { common } from '../texts/common.ts';
import { signIn as texts } from '../texts/shell.ts';
import type { SignIn } from './session.tsx';

type Way = 'token' | 'password';

/** Token, or user and password. */
export function SignInPage({ expired, keptFor, withToken, withPassword }: SignIn) {
  const [way, setWay] = useState<Way>('token');
  const [token, setToken] = useState('');
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [remember, setRemember] = useState(false);
  const [failure, setFailure] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  useEffect(() => {
    document.title = `${texts.tab} · ${common.product}`;
  }, []);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      if (way === 'token') await withToken(token.trim(), remember);
      else await withPassword(username, password, remember);
    } catch (error) {
      setFailure(
        error instanceof PlugboardError && error.status === 401
          ? way === 'token'
            ? texts.badToken
            : texts.badCredentials
          : (error as Error).message,
      );
      setBusy(false);
    }
  };

  return (
    <Center component="main" mih="100dvh" p="md">
      <Paper withBorder p="xl" w="100%" maw={420}>
        <form onSubmit={submit}>
          <Stack>
            <Title order={1} size="h3">
              {texts.title}
            </Title>
            {expired && (
              <Alert color="yellow" role="status" className="break">
                {texts.expired} {keptFor !== null && texts.kept(keptFor)}
              </Alert>
            )}
            <SegmentedControl
              fullWidth
              aria-label={texts.way}
              value={way}
              onChange={(value) => setWay(value as Way)}
              data={[
                { value: 'token', label: texts.byToken },
                { value: 'password', label: texts.byPassword },
              ]}
            />
            {way === 'token' ? (
              <PasswordInput
                label={texts.token}
                description={texts.tokenHelp}
                value={token}
                onChange={(event) => setToken(event.currentTarget.value)}
                autoComplete="off"
                required
                autoFocus
              />
            ) : (
              <>
                <TextInput
                  label={texts.username}
                  value={username}
                  onChange={(event) => setUsername(event.currentTarget.value)}
                  autoComplete="username"
                  required
                />
                <PasswordInput
                  label={texts.password}
                  value={password}
                  onChange={(event) => setPassword(event.currentTarget.value)}
                  autoComplete="current-password"
                  required
                />
              </>
            )}
            <Checkbox
              label={texts.remember}
              description={texts.rememberHelp}
              checked={remember}
              onChange={(event) => setRemember(event.currentTarget.checked)}
            />
            {failure && (
              <Alert color="red" role="alert">
                {failure}
              </Alert>
            )}
            <Button type="submit" loading={busy}>
              {texts.submit}
            </Button>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
