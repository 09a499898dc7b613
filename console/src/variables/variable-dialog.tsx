import { Checkbox, Fieldset, Stack, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Change } from '../parts/change-outcome.tsx';
import { faultAt } from '../parts/field-faults.ts';
import { DialogForm, ForEdit, FormDialog, type Loaded } from '../parts/form-dialog.tsx';
import { useSession } from '../session/session.tsx';
import { variables as texts } from '../texts/variables.ts';
import { type Variable, variablesApi } from './variable.ts';

interface Props {
  project: string;
  onClose(): void;
  onSaved(change: Change): void;
}

/** Makes a variable, or changes one; a hidden value is written and never read. */
export function VariableDialog({ name, ...props }: Props & { name: string | null }) {
  return (
    <FormDialog title={name === null ? texts.newVariable : texts.edit(name)} onClose={props.onClose}>
      {name === null ? (
        <VariableForm {...props} loaded={null} />
      ) : (
        <ForEdit<Variable> path={variablesApi(props.project, name)}>
          {(loaded) => <VariableForm {...props} loaded={loaded} />}
        </ForEdit>
      )}
    </FormDialog>
  );
}

/** A value as it is typed, in one environment or everywhere. */
interface Draft {
  present: boolean;
  value: string;
  hidden: boolean;
  /** There is a hidden one that is kept when nothing is typed. */
  stored: boolean;
}

const absent: Draft = { present: false, value: '', hidden: false, stored: false };

function draftOf(value: string | null, visible: boolean): Draft {
  return { present: true, value: value ?? '', hidden: !visible, stored: !visible };
}

function bodyOf({ value, hidden, stored }: Draft) {
  // Nothing typed is never "empty it": a stored value that is to be visible has to be typed again, as the API says.
  return { value: value === '' && stored ? null : value, visible: !hidden };
}

function VariableForm({ project, loaded, onClose, onSaved }: Props & { loaded: Loaded<Variable> | null }) {
  const { plugboard, me } = useSession();
  const [before] = useState(loaded);
  const view = before?.view;
  const [name, setName] = useState(view?.name ?? '');
  const [description, setDescription] = useState(view?.description ?? '');
  const [allowedHosts, setAllowedHosts] = useState(view?.allowedHosts ?? []);
  const [global, setGlobal] = useState<Draft>(
    view
      ? view.global
        ? draftOf(view.globalValue, view.globalVisible)
        : absent
      : { ...absent, present: true },
  );
  const [own, setOwn] = useState<ReadonlyMap<string, Draft>>(() => {
    const environments = me.projects.find((one) => one.name === project)?.environments ?? [];
    const drafts = new Map(environments.map((environment) => [environment, absent]));
    for (const { environmentName, value, visible } of view?.environmentValueList ?? [])
      drafts.set(environmentName, draftOf(value, visible));
    return drafts;
  });
  const present = [...own].filter(([, draft]) => draft.present);
  const anyHidden = [global, ...own.values()].some((draft) => draft.present && draft.hidden);
  const save = async () => {
    const { value: globalValue, visible: globalVisible } = bodyOf(global);
    const body = {
      name,
      description: description || null,
      global: global.present,
      ...(global.present ? { globalValue, globalVisible } : {}),
      allowedHosts,
      environmentValueList: present.map(([environmentName, draft]) => ({
        environmentName,
        ...bodyOf(draft),
      })),
    };
    const answer = await plugboard.request<Change['answer']>(
      before ? 'PUT' : 'POST',
      variablesApi(project, view?.name),
      {
        body,
        ...(before ? { headers: { 'if-match': before.etag }, query: { rename: true } } : {}),
      },
    );
    onSaved({ name, answer });
  };
  return (
    <DialogForm
      save={save}
      onClose={onClose}
      placed={[
        'name',
        'description',
        'allowedHosts',
        'environmentValueList',
        ...(global.present ? ['globalValue'] : []),
      ]}
    >
      {(failure) => (
        <>
          <TextInput
            label={texts.name}
            description={before ? texts.renameHelp : texts.nameHelp}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            error={faultAt(failure, 'name')}
            required
            maxLength={255}
            spellCheck={false}
            data-autofocus
          />
          <TextInput
            label={texts.description}
            value={description}
            onChange={(event) => setDescription(event.currentTarget.value)}
            error={faultAt(failure, 'description')}
            maxLength={1000}
          />
          <ValueFields
            place={texts.global}
            label={texts.globalOn}
            draft={global}
            onChange={setGlobal}
            fault={faultAt(failure, 'globalValue')}
          />
          {[...own].map(([environment, draft]) => {
            const index = present.findIndex(([one]) => one === environment);
            const fault = (field: string) => faultAt(failure, `environmentValueList[${index}].${field}`);
            return (
              <ValueFields
                key={environment}
                place={environment}
                label={texts.ownValue(environment)}
                draft={draft}
                onChange={(next) => setOwn((now) => new Map(now).set(environment, next))}
                fault={fault('value') ?? fault('environmentName')}
              />
            );
          })}
          {(anyHidden || allowedHosts.length > 0) && (
            <TagsInput
              label={texts.allowedHosts}
              description={texts.allowedHostsHelp}
              value={allowedHosts}
              // Whatever way several came in at once.
              onChange={(hosts) =>
                setAllowedHosts(hosts.flatMap((host) => host.split(/[\s,]+/)).filter(Boolean))
              }
              error={faultAt(failure, 'allowedHosts') ?? hostFault(failure, allowedHosts)}
              splitChars={[',', ' ']}
              acceptValueOnBlur
              maxTags={200}
            />
          )}
        </>
      )}
    </DialogForm>
  );
}

function hostFault(failure: unknown, hosts: readonly string[]): string | undefined {
  for (const [index, host] of hosts.entries()) {
    const fault = faultAt(failure, `allowedHosts[${index}]`);
    if (fault) return `${host}: ${fault}`;
  }
  return undefined;
}

function ValueFields({
  place,
  label,
  draft,
  onChange,
  fault,
}: {
  place: string;
  label: string;
  draft: Draft;
  onChange(draft: Draft): void;
  fault: string | undefined;
}) {
  const set = (change: Partial<Draft>) => onChange({ ...draft, ...change });
  return (
    <Fieldset legend={place}>
      <Stack gap="sm">
        <Switch
          label={label}
          checked={draft.present}
          onChange={(event) => set({ present: event.currentTarget.checked })}
        />
        {draft.present && (
          <>
            {/* Of several lines, as keys are; a field of one line would join them. */}
            <Textarea
              label={texts.value}
              aria-label={texts.valueIn(place)}
              placeholder={draft.stored && draft.hidden ? texts.kept : ''}
              value={draft.value}
              onChange={(event) => set({ value: event.currentTarget.value })}
              error={fault}
              rows={Math.min(8, Math.max(1, draft.value.slice(0, 10_000).split('\n').length))}
              resize="vertical"
              spellCheck={false}
              autoComplete="off"
              styles={{
                input: {
                  fontFamily: 'var(--mantine-font-family-monospace)',
                  ...(draft.hidden && draft.value !== '' ? { WebkitTextSecurity: 'disc' } : {}),
                },
              }}
            />
            <Checkbox
              label={texts.hideLabel}
              aria-label={texts.hide(place)}
              description={texts.hideHelp}
              checked={draft.hidden}
              onChange={(event) => set({ hidden: event.currentTarget.checked })}
            />
          </>
        )}
      </Stack>
    </Fieldset>
  );
}
