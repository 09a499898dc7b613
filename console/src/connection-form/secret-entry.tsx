import {
  Button,
  FileButton,
  Group,
  Input,
  PasswordInput,
  SegmentedControl,
  Stack,
  Text,
  Textarea,
} from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { isReference } from '../../../src/contract/reference-syntax.ts';
import { connectionForm as texts } from '../texts/connection-form.ts';
import { useFormState } from './form-context.ts';
import { readFileAs } from './read-file.ts';
import { TemplateInput, TemplatePreview } from './template-input.tsx';

type Mode = 'keep' | 'type' | 'reference' | 'forget';

/**
 * A secret: what is stored is kept, replaced, referred to or removed, and never shown. Its value is
 * null (keep), a text, or empty (remove).
 */
export function SecretEntry({
  id,
  label,
  description,
  value,
  onChange,
  onBlur,
  stored,
  removable,
  required,
  multiline,
  base64,
  error,
  disabled,
}: {
  id?: string;
  label: string;
  description?: ReactNode;
  value: string | null | undefined;
  onChange(value: string | null): void;
  onBlur(): void;
  /** There is one to keep. */
  stored: boolean;
  removable: boolean;
  required: boolean;
  multiline: boolean;
  base64: boolean;
  error?: string | undefined;
  disabled: boolean;
}) {
  const { variables, targets } = useFormState();
  const [chosen, setChosen] = useState<Mode>(() => modeOf(value, stored));
  // A fault of a kept secret is mended by typing it again.
  const mode = chosen === 'keep' && error ? 'type' : chosen;
  const [fileFault, setFileFault] = useState<string | null>(null);
  const modes: { value: Mode; label: string }[] = [
    ...(stored ? [{ value: 'keep' as const, label: texts.keep }] : []),
    { value: 'type', label: stored ? texts.replace : texts.type },
    { value: 'reference', label: texts.reference },
    ...(stored && removable ? [{ value: 'forget' as const, label: texts.forget }] : []),
  ];
  const choose = (next: string) => {
    setChosen(next as Mode);
    onChange(next === 'forget' ? '' : null);
    onBlur();
  };
  const type = (typed: string) => {
    setChosen('type');
    onChange(typed || null);
  };
  const text = mode === 'forget' ? '' : (value ?? '');
  const entry = {
    id,
    'aria-label': stored ? texts.newValue(label) : label,
    value: text,
    onBlur,
    disabled,
    autoComplete: multiline ? 'off' : 'new-password',
    spellCheck: false,
    error: Boolean(error),
  };
  return (
    <Stack gap={4}>
      <Group justify="space-between" align="flex-end" gap="xs">
        <Input.Label required={required} labelElement="div">
          {label}
        </Input.Label>
        <SegmentedControl
          size="xs"
          data={modes}
          value={mode}
          onChange={choose}
          disabled={disabled}
          aria-label={texts.secretMode(label)}
        />
      </Group>
      {description && <Input.Description>{description}</Input.Description>}
      {mode === 'keep' && (
        <Text size="sm" c="dimmed">
          {texts.kept}
        </Text>
      )}
      {mode === 'forget' && <Text size="sm">{texts.forgotten}</Text>}
      {mode === 'type' && (
        <>
          {multiline ? (
            <Textarea
              {...entry}
              rows={4}
              resize="vertical"
              styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
              onChange={(event) => type(event.currentTarget.value)}
            />
          ) : (
            <PasswordInput {...entry} onChange={(event) => type(event.currentTarget.value)} />
          )}
          {multiline && !disabled && (
            <Group gap="xs">
              <FileButton
                onChange={(file) =>
                  file &&
                  readFileAs(file, base64 ? 'base64' : 'text').then(
                    (content) => {
                      setFileFault(null);
                      type(content);
                    },
                    (failure: Error) => setFileFault(failure.message),
                  )
                }
              >
                {(props) => (
                  <Button {...props} size="compact-xs" variant="default" aria-label={texts.fromFileOf(label)}>
                    {texts.fromFile}
                  </Button>
                )}
              </FileButton>
              {fileFault && <Input.Error>{fileFault}</Input.Error>}
            </Group>
          )}
          {stored && text === '' && !error && (
            <Text size="xs" c="dimmed">
              {texts.replaceEmpty}
            </Text>
          )}
        </>
      )}
      {mode === 'reference' && (
        <>
          <TemplateInput
            label={<span>{texts.referenceTo(label)}</span>}
            description={texts.referenceHelp}
            placeholder={'${NAME}'}
            value={text}
            onChange={(next) => onChange(next || null)}
            onBlur={onBlur}
            error={Boolean(error)}
            disabled={disabled}
            variables={variables}
            secret
          />
          <TemplatePreview text={text} variables={variables} targets={targets} />
        </>
      )}
      {error && <Input.Error>{chosen === 'keep' ? texts.typeAgain(error) : error}</Input.Error>}
    </Stack>
  );
}

function modeOf(value: string | null | undefined, stored: boolean): Mode {
  if (typeof value !== 'string') return stored ? 'keep' : 'type';
  if (isReference(value)) return 'reference';
  return value === '' && stored ? 'forget' : 'type';
}
