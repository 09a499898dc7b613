import { Combobox, Stack, Text, Textarea, TextInput, useCombobox } from '@mantine/core';
import { type ChangeEvent, type ReactNode, useRef, useState } from 'react';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { isHidden, previews, type Variable } from './variables.ts';

interface TemplateInputProps {
  id?: string;
  value: string;
  onChange(text: string): void;
  onBlur?(): void;
  label: ReactNode;
  description?: ReactNode;
  error?: ReactNode;
  placeholder?: string | undefined;
  required?: boolean;
  disabled?: boolean;
  multiline?: boolean;
  monospace?: boolean;
  inputContainer?: (children: ReactNode) => ReactNode;
  variables: readonly Variable[];
  /** Variables that are not visible may be chosen. */
  secret?: boolean;
}

/** How far back an opened `${` is looked for. */
const longestName = 258;

/** A text in which `${` completes the project's variables. */
export function TemplateInput({
  value,
  onChange,
  onBlur,
  variables,
  secret = false,
  multiline = false,
  monospace = false,
  ...props
}: TemplateInputProps) {
  const combobox = useCombobox({ onDropdownClose: () => combobox.resetSelectedOption() });
  const input = useRef<HTMLInputElement & HTMLTextAreaElement>(null);
  const [typed, setTyped] = useState<{ start: number; end: number; name: string } | null>(null);

  const offered = typed
    ? variables.filter(({ name }) => name.toLowerCase().includes(typed.name.toLowerCase()))
    : [];

  const look = (text: string, caret: number | null) => {
    const opened = caret === null ? null : openedVariable(text, caret);
    setTyped(opened);
    if (opened) {
      combobox.openDropdown();
      combobox.resetSelectedOption();
    } else combobox.closeDropdown();
  };
  const change = (event: ChangeEvent<HTMLInputElement | HTMLTextAreaElement>) => {
    onChange(event.currentTarget.value);
    look(event.currentTarget.value, event.currentTarget.selectionStart);
  };
  const choose = (name: string) => {
    if (!typed) return;
    const before = `${value.slice(0, typed.start)}\${${name}}`;
    onChange(before + value.slice(typed.end));
    setTyped(null);
    combobox.closeDropdown();
    requestAnimationFrame(() => input.current?.setSelectionRange(before.length, before.length));
  };

  const shared = {
    ...props,
    ref: input,
    value,
    onChange: change,
    onBlur() {
      combobox.closeDropdown();
      setTyped(null);
      onBlur?.();
    },
    autoComplete: 'off',
    spellCheck: false,
    ...(monospace ? { styles: { input: { fontFamily: 'var(--mantine-font-family-monospace)' } } } : {}),
  };
  return (
    <Combobox store={combobox} onOptionSubmit={choose} withinPortal>
      <Combobox.Target withKeyboardNavigation={typed !== null} withAriaAttributes={typed !== null}>
        {multiline ? (
          <Textarea {...shared} rows={rowsOf(value)} resize="vertical" />
        ) : (
          <TextInput {...shared} />
        )}
      </Combobox.Target>
      <Combobox.Dropdown hidden={typed === null}>
        <Combobox.Options aria-label={texts.variables} mah={240} style={{ overflowY: 'auto' }}>
          {offered.map((variable) => {
            const barred = !secret && isHidden(variable);
            return (
              <Combobox.Option key={variable.name} value={variable.name} disabled={barred}>
                <Stack gap={0}>
                  <Text size="sm" className="break">
                    {variable.name}
                  </Text>
                  {(barred || variable.description) && (
                    <Text size="xs" c="dimmed" lineClamp={1}>
                      {barred ? texts.variableHidden : variable.description}
                    </Text>
                  )}
                </Stack>
              </Combobox.Option>
            );
          })}
          {offered.length === 0 && <Combobox.Empty>{texts.noVariables}</Combobox.Empty>}
        </Combobox.Options>
      </Combobox.Dropdown>
    </Combobox>
  );
}

/** What a text stands for in each environment; nothing for a text without variables. */
export function TemplatePreview({
  text,
  variables,
  targets,
}: {
  text: string;
  variables: readonly Variable[];
  targets: readonly string[];
}) {
  // What is longer is no address with a variable in it, and would be long to show.
  if (text.length > 20_000 || !/\$\{[A-Za-z_]/.test(text)) return null;
  return (
    <Stack gap={2} mt={4} role="note" aria-label={texts.previewTitle}>
      {previews(text, variables, targets).map((preview) => (
        <Text key={preview.environment} size="xs" className="break">
          <Text span inherit c="dimmed">
            {preview.environment} →{' '}
          </Text>
          {preview.state === 'value' && (
            <Text span inherit ff="monospace">
              {preview.text.slice(0, 400)}
            </Text>
          )}
          {preview.state === 'hidden' && texts.previewHidden}
          {preview.state === 'missing' && texts.previewMissing(preview.variable)}
          {preview.state === 'unknown' && texts.previewUnknown(preview.variable)}
        </Text>
      ))}
    </Stack>
  );
}

/** The `${NAME` that the caret stands in, with what follows of the name and its brace. */
function openedVariable(text: string, caret: number): { start: number; end: number; name: string } | null {
  const before = text.slice(Math.max(0, caret - longestName), caret);
  const match = /(^|[^$])(\$\{([A-Za-z0-9_]*))$/.exec(before);
  if (!match) return null;
  const rest = /^[A-Za-z0-9_]*\}/.exec(text.slice(caret, caret + longestName));
  return { start: caret - match[2]!.length, end: caret + (rest?.[0].length ?? 0), name: match[3]! };
}

/** Enough rows for a few lines; a long text scrolls in its field. */
function rowsOf(text: string): number {
  let lines = 1;
  for (let at = text.indexOf('\n'); at >= 0 && lines < 8; at = text.indexOf('\n', at + 1)) lines++;
  return Math.max(text.length > 400 ? 6 : 2, lines);
}
