import {
  Alert,
  Button,
  Drawer,
  Group,
  List,
  Paper,
  SegmentedControl,
  Spoiler,
  Stack,
  Text,
} from '@mantine/core';
import { notifications } from '@mantine/notifications';
// The package's index draws in a validator that compiles.
import Form from '@rjsf/core/lib/components/Form.js';
import type { RJSFSchema } from '@rjsf/utils';
import { IconDeviceFloppy, IconPlayerPlay } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState } from 'react';
import { useNavigate } from 'react-router';
import {
  type ChangeAnswer,
  type Connection,
  type DeploymentResult,
  PlugboardError,
} from '../../../client/plugboard.ts';
import { CopyButton } from '../parts/copy-button.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { connectionPath } from '../parts/links.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { TestLadder } from '../test-ladder/test-ladder.tsx';
import { common } from '../texts/common.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { curlCommand } from './curl-command.ts';
import { DeploymentLines, RefusedDialog } from './deployment-outcome.tsx';
import { type Fault, placeFaults, topOf } from './field-faults.ts';
import { FormContext, type FormState } from './form-context.ts';
import {
  type Body,
  canonical,
  conditionallyRequired,
  formSchema,
  newBody,
  withoutUnset,
} from './form-schema.ts';
import { fields, templates, validator } from './form-theme.tsx';
import { JsonView } from './json-view.tsx';
import { MergeDialog } from './merge-dialog.tsx';
import { fetchStored, type StoredConnection, type TypeDescription } from './type-and-connection.ts';
import { useLeaveGuard } from './use-leave-guard.tsx';
import { faultsOf, useValidation } from './use-validation.ts';
import { useVariables } from './variables.ts';

const nothing: readonly Fault[] = [];
const noSecrets: ReadonlySet<string> = new Set();
const formId = 'connection-form';

/** Makes a connection, or changes the one that is given. */
export function ConnectionForm({
  project,
  description,
  stored: opened,
  newerTag,
}: {
  project: string;
  description: TypeDescription;
  /** As it was when the page was opened; null: a new one. */
  stored: StoredConnection | null;
  /** The version that is stored by now. */
  newerTag?: string | undefined;
}) {
  const { plugboard, me } = useSession();
  const { may } = usePermissions(project);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const published = description.schema;
  const schema = useMemo(() => formSchema(published), [published]);
  const requiredBy = useMemo(() => conditionallyRequired(published), [published]);

  // What the work here began with; another one after a merge.
  const [stored, setStored] = useState(opened);
  const storedName = stored ? String(stored.body['name']) : null;
  const [began] = useState<Body>(() => newBody(description.type, schema));
  const base = stored?.body ?? began;
  const [body, setBody] = useState<Body>(base);
  // The fields keep what they are in the middle of; a body from elsewhere begins them anew.
  const [formKey, setFormKey] = useState(0);
  const [view, setView] = useState<'form' | 'json'>('form');
  const [jsonFault, setJsonFault] = useState<string | null>(null);
  const [touched, setTouched] = useState<ReadonlySet<string>>(() => new Set());
  const [submitted, setSubmitted] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const [refusedFaults, setRefusedFaults] = useState<readonly Fault[]>(nothing);
  const [theirs, setTheirs] = useState<StoredConnection | null>(null);
  const [refused, setRefused] = useState<{ result: DeploymentResult; name: string } | null>(null);
  const [testing, setTesting] = useState(false);
  const [asCurl, setAsCurl] = useState(false);

  const canManage = may('CONNECTIONS:MANAGE');
  const readonly = !canManage;
  const unsaved = canonical(body) !== canonical(base);
  const sent = useMemo(() => (stored ? body : withoutUnset(body)), [stored, body]);
  const guard = useLeaveGuard(unsaved && !readonly);
  const validation = useValidation({
    project,
    body: sent,
    storedName,
    namePattern: String(published.properties?.['name']?.['pattern'] ?? ''),
    enabled: canManage,
  });
  const variables = useVariables(project);
  const environments = me.projects.find(({ name }) => name === project)?.environments ?? [];

  const allFaults = refusedFaults.length > 0 ? refusedFaults : validation.faults;
  const placed = placeFaults(schema, body, allFaults);
  // On a new one nobody is told off for what they have not come to yet.
  const mayShow = (path: string) =>
    stored !== null || submitted || touched.has(path) || touched.has(topOf(path));
  const faults = new Map([...placed.byPath].filter(([path]) => mayShow(path)));
  const elsewhere = stored || submitted || view === 'json' ? placed.elsewhere : [];
  const listed = body['environments'];
  const targets = Array.isArray(listed) && listed.length > 0 ? listed.map(String) : environments;

  const change = (next: Body) => {
    setBody(next);
    setRefusedFaults(nothing);
    setFailure(null);
  };
  const state: FormState = {
    project,
    schema,
    body,
    stored: stored?.body ?? null,
    storedSecrets: stored?.secrets ?? noSecrets,
    faults,
    required: requiredBy(body),
    variables,
    environments,
    targets,
    readonly,
    touch: (path) => setTouched((all) => (all.has(path) ? all : new Set(all).add(path))),
  };

  const focusFault = useFocusOnFault(faults);

  const save = async (what: Body, since: StoredConnection | null) => {
    setSubmitted(true);
    setBusy(true);
    setFailure(null);
    const name = String(what['name'] ?? '');
    const target = storedName ?? name;
    try {
      const { answer, headers } = await plugboard.exchange<ChangeAnswer>(
        since ? 'PUT' : 'POST',
        connectionUrl(project, target || ' '),
        {
          body: since ? what : withoutUnset(what),
          ...(since
            ? { headers: { 'if-match': since.etag }, query: { rename: name !== storedName || undefined } }
            : {}),
        },
      );
      void queries.invalidateQueries({ queryKey: [project] });
      guard.letGo();
      // Whoever goes back at once finds this very form, which must not save over what it began with.
      if (since) setStored({ ...since, body: what, etag: headers.get('etag') ?? since.etag });
      if (answer.deploymentResult && !answer.deploymentResult.success)
        return setRefused({ result: answer.deploymentResult, name });
      notifications.show({
        color: 'teal',
        title: texts.saved(name),
        message: (
          <>
            <DeploymentLines result={answer.deploymentResult} />
            {answer.warnings?.map((warning) => (
              <Text key={warning} size="sm">
                {warning}
              </Text>
            ))}
          </>
        ),
      });
      navigate(connectionPath(project, name));
    } catch (error) {
      await explain(error);
    } finally {
      setBusy(false);
    }
  };
  const explain = async (error: unknown) => {
    const named = faultsOf(error);
    if (named) {
      setRefusedFaults(named);
      return focusFault();
    }
    if (error instanceof PlugboardError && error.status === 412 && storedName !== null) return compare();
    setFailure(error);
  };
  const compare = async () => {
    try {
      setTheirs(await fetchStored(plugboard, project, storedName!));
    } catch (error) {
      setFailure(error);
    }
  };
  const submit = () => {
    if (busy || readonly) return;
    if (view === 'json' && jsonFault) return setFailure(new Error(texts.jsonFirst));
    void save(body, stored);
  };

  const begin = (next: Body) => {
    change(next);
    setFormKey((key) => key + 1);
  };
  const back = () => navigate(storedName === null ? newPath(project) : connectionPath(project, storedName));
  const testBarred = !canManage
    ? texts.noTest('CONNECTIONS:MANAGE')
    : may('CONNECTIONS:TEST')
      ? undefined
      : texts.noTest('CONNECTIONS:TEST');

  return (
    <FormContext value={state}>
      <Stack gap="md" maw={920}>
        {readonly && <Alert color="yellow">{stored ? texts.readonly : texts.notCreatable}</Alert>}
        {stored && newerTag !== undefined && newerTag !== stored.etag && (
          <Alert color="yellow" role="status">
            <Group justify="space-between">
              <Text size="sm">{texts.changedMeanwhile}</Text>
              <Button size="xs" variant="default" onClick={() => void compare()}>
                {texts.compare}
              </Button>
            </Group>
          </Alert>
        )}
        {description.notes.length > 0 && (
          <Paper withBorder p="sm" component="section" aria-label={texts.notes}>
            <Text size="sm" fw={600} mb={4}>
              {texts.notes}
            </Text>
            <Spoiler maxHeight={66} showLabel={common.showMore} hideLabel={common.close}>
              <List size="sm" spacing={4}>
                {description.notes.map((note) => (
                  <List.Item key={note} className="break">
                    {note}
                  </List.Item>
                ))}
              </List>
            </Spoiler>
          </Paper>
        )}
        <Group justify="space-between">
          <SegmentedControl
            aria-label={texts.view}
            data={[
              { value: 'form', label: texts.form },
              { value: 'json', label: texts.json },
            ]}
            value={view}
            onChange={(next) => {
              if (next === 'form' && jsonFault) return;
              setFormKey((key) => key + 1);
              setView(next as 'form' | 'json');
            }}
          />
          <Status state={validation.state} faults={allFaults.length} quiet={!stored && !submitted} />
        </Group>
        {elsewhere.length > 0 && (
          <Alert color="red" title={texts.faultsElsewhere} role="alert">
            <Faults faults={elsewhere} />
          </Alert>
        )}
        {view === 'json' && allFaults.length > 0 && jsonFault === null && (
          <Alert color="red" title={texts.faults(allFaults.length)}>
            <Faults faults={allFaults} />
          </Alert>
        )}
        {view === 'form' ? (
          <Form<Body>
            key={formKey}
            id={formId}
            schema={schema as RJSFSchema}
            formData={body}
            onChange={({ formData }) => formData && change(formData)}
            onSubmit={submit}
            validator={validator}
            fields={fields}
            templates={templates}
            noHtml5Validate
            noValidate
            showErrorList={false}
            experimental_defaultFormStateBehavior={{
              emptyObjectFields: 'skipDefaults',
              arrayMinItems: { populate: 'never' },
            }}
          >
            {/* The buttons stand below; a submit button has to be within for Enter to save. */}
            <button type="submit" hidden aria-hidden tabIndex={-1} />
          </Form>
        ) : (
          <JsonView
            key={formKey}
            body={sent}
            type={description.type}
            readonly={readonly}
            onChange={change}
            onFault={setJsonFault}
          />
        )}
        {validation.warnings.length > 0 && (
          <Alert color="yellow" title={texts.warnings} role="status">
            <List size="sm">
              {validation.warnings.map((warning) => (
                <List.Item key={warning} className="break">
                  {warning}
                </List.Item>
              ))}
            </List>
          </Alert>
        )}
        {validation.state === 'failed' && <ErrorAlert error={validation.error} />}
        {failure !== null && <ErrorAlert error={failure} />}
        {asCurl && (
          <Paper withBorder p="sm" component="section" aria-label={texts.curlTitle}>
            <Group justify="space-between" mb="xs">
              <Text size="sm">{texts.curlHelp}</Text>
              <CopyButton value={curlOf(project, storedName, sent, published)} label={texts.curl} />
            </Group>
            <Text
              component="pre"
              size="xs"
              ff="monospace"
              m={0}
              tabIndex={0}
              role="region"
              aria-label={texts.curlTitle}
              mah={320}
              style={{ overflow: 'auto' }}
            >
              {cut(curlOf(project, storedName, sent, published))}
            </Text>
          </Paper>
        )}
        <Paper withBorder p="sm" shadow="sm" style={{ position: 'sticky', bottom: 0, zIndex: 10 }}>
          <Group gap="xs">
            <Button
              leftSection={<IconDeviceFloppy size={16} />}
              onClick={submit}
              loading={busy}
              disabled={readonly}
            >
              {stored ? texts.save : texts.create}
            </Button>
            <Button
              variant="default"
              leftSection={<IconPlayerPlay size={16} />}
              onClick={() => setTesting(true)}
              disabled={testBarred !== undefined}
              title={testBarred}
            >
              {texts.test}
            </Button>
            <Button variant="default" onClick={back}>
              {common.cancel}
            </Button>
            <Button variant="subtle" onClick={() => setAsCurl(!asCurl)} aria-expanded={asCurl}>
              {texts.curlTitle}
            </Button>
          </Group>
        </Paper>
      </Stack>
      <Drawer
        opened={testing}
        onClose={() => setTesting(false)}
        position="right"
        size="lg"
        title={texts.testTitle}
        closeButtonProps={{ 'aria-label': common.close }}
      >
        <TestLadder
          project={project}
          environments={targets}
          tested={() => ({ draft: draftOf(sent, storedName) })}
          disabledBecause={testBarred}
          autoStart
        />
      </Drawer>
      {theirs && stored && (
        <MergeDialog
          schema={schema}
          base={stored.body}
          mine={body}
          theirs={theirs.body}
          onClose={() => setTheirs(null)}
          onMerged={(next, andSave) => {
            setStored(theirs);
            setTheirs(null);
            begin(next);
            if (andSave) void save(next, theirs);
          }}
        />
      )}
      {refused && (
        <RefusedDialog result={refused.result} onGo={() => navigate(connectionPath(project, refused.name))} />
      )}
      {guard.dialog}
    </FormContext>
  );
}

function Faults({ faults }: { faults: readonly Fault[] }) {
  return (
    <List size="sm">
      {faults.map(({ field, message }) => (
        <List.Item key={`${field} ${message}`} className="break">
          {texts.fault(field, message)}
        </List.Item>
      ))}
    </List>
  );
}

function Status({ state, faults, quiet }: { state: string; faults: number; quiet: boolean }) {
  const said =
    state === 'checking'
      ? texts.checking
      : state === 'failed'
        ? texts.notChecked
        : state === 'valid'
          ? texts.valid
          : state === 'faulty' && !quiet
            ? texts.faults(faults)
            : '';
  return (
    <Text size="sm" c="dimmed" role="status">
      {said}
    </Text>
  );
}

/** After a refused save the first field at fault gets the focus, once it is shown. */
function useFocusOnFault(faults: ReadonlyMap<string, string>): () => void {
  const wanted = useRef(false);
  useEffect(() => {
    if (!wanted.current || faults.size === 0) return;
    wanted.current = false;
    const places = [...document.querySelectorAll<HTMLElement>('[data-field]')];
    const place = places.find((one) => faults.has(one.dataset['field']!));
    place?.querySelector<HTMLElement>('input, select, textarea, button')?.focus();
    place?.scrollIntoView({ block: 'center' });
  });
  return () => {
    wanted.current = true;
  };
}

function curlOf(
  project: string,
  storedName: string | null,
  body: Body,
  published: TypeDescription['schema'],
): string {
  const name = String(body['name'] ?? '');
  const path = connectionUrl(project, storedName ?? name);
  const rename = storedName !== null && name !== storedName ? '?rename=true' : '';
  return curlCommand(
    { method: storedName === null ? 'POST' : 'PUT', url: `${window.location.origin}${path}${rename}`, body },
    published,
  );
}

function cut(text: string): string {
  return text.length > 20_000 ? `${text.slice(0, 20_000)} …` : text;
}

/** A test finds the secrets that are kept by the stored name. */
function draftOf(body: Body, storedName: string | null): Connection {
  return { ...body, name: storedName ?? (String(body['name'] ?? '') || 'draft') } as Connection;
}

function connectionUrl(project: string, name: string): string {
  return `/apiops/projects/${encodeURIComponent(project)}/connections/${encodeURIComponent(name)}/`;
}

function newPath(project: string): string {
  return `/ui/p/${encodeURIComponent(project)}/new`;
}
