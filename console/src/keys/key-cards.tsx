import { Badge, Button, Card, Group, ScrollArea, Table, Text, Title, Tooltip } from '@mantine/core';
import type { ReactNode } from 'react';
import { Urgency } from '../parts/urgency.tsx';
import { common } from '../texts/common.ts';
import { keys as texts } from '../texts/keys.ts';
import type { Certificate, CertificateInfo, Keystore } from './stored-keys.ts';

interface Actions {
  /** Why it may not be changed. */
  disabledBecause: string | undefined;
  onEdit(): void;
  onRemove(): void;
}

/** As many entries of one file are drawn; a truststore of a system has some hundred. */
const maxEntries = 20;

/** A keystore with the contents of its file in each environment. */
export function KeystoreCard({ keystore, ...actions }: { keystore: Keystore } & Actions) {
  const { name, description, keyStoreEnvironmentList } = keystore;
  return (
    <KeyCard name={name} description={description} {...actions}>
      <ScrollArea>
        <Table miw={620} verticalSpacing={6} aria-label={texts.contents(name)}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{texts.environment}</Table.Th>
              <Table.Th>{texts.alias}</Table.Th>
              <Table.Th>{texts.subject}</Table.Th>
              <Table.Th>{texts.ends}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {keyStoreEnvironmentList.flatMap(({ environmentName, type, alias, entries }) => [
              ...entries.slice(0, maxEntries).map((entry, index) => (
                <Table.Tr key={`${environmentName} ${entry.alias} ${entry.fingerprint256}`}>
                  <Table.Td className="break">
                    {index === 0 && (
                      <>
                        {environmentName}{' '}
                        <Text span size="xs" c="dimmed">
                          {texts.types[type] ?? type}
                        </Text>
                      </>
                    )}
                  </Table.Td>
                  <Table.Td className="break">
                    {entry.alias}{' '}
                    <Text span size="xs" c="dimmed">
                      {texts.kinds[entry.kind] ?? entry.kind}
                      {entry.kind === 'key' && entry.alias === alias && `, ${texts.used}`}
                    </Text>
                  </Table.Td>
                  <Table.Td className="break">
                    <Subject of={entry} />
                  </Table.Td>
                  <Table.Td>
                    <Urgency at={entry.notAfter} />
                  </Table.Td>
                </Table.Tr>
              )),
              ...(entries.length > maxEntries
                ? [
                    <Table.Tr key={`${environmentName} more`}>
                      <Table.Td />
                      <Table.Td colSpan={3} c="dimmed">
                        {texts.moreEntries(entries.length - maxEntries)}
                      </Table.Td>
                    </Table.Tr>,
                  ]
                : []),
            ])}
          </Table.Tbody>
        </Table>
      </ScrollArea>
    </KeyCard>
  );
}

/** A certificate, or a chain of them. */
export function CertificateCard({ certificate, ...actions }: { certificate: Certificate } & Actions) {
  const { name, description, alias, environmentList, certificates } = certificate;
  return (
    <KeyCard
      name={name}
      description={description}
      mark={
        <Badge variant="light" color="gray" tt="none" maw="100%">
          {environmentList.length === 0 ? texts.everywhere : texts.only(environmentList)}
        </Badge>
      }
      {...actions}
    >
      {alias && (
        <Text size="xs" c="dimmed" className="break">
          {texts.alias}: {alias}
        </Text>
      )}
      <ScrollArea>
        <Table miw={420} verticalSpacing={6} aria-label={texts.contents(name)}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{texts.subject}</Table.Th>
              <Table.Th>{texts.ends}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {certificates.slice(0, maxEntries).map((one) => (
              <Table.Tr key={one.fingerprint256}>
                <Table.Td className="break">
                  <Subject of={one} />
                </Table.Td>
                <Table.Td>
                  <Urgency at={one.notAfter} />
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      {certificates.length > maxEntries && (
        <Text size="sm" c="dimmed">
          {texts.moreEntries(certificates.length - maxEntries)}
        </Text>
      )}
    </KeyCard>
  );
}

function Subject({ of: { subject, issuer, keyType, keyBits, fingerprint256 } }: { of: CertificateInfo }) {
  return (
    <Tooltip
      label={
        <>
          <div>{texts.issuer(issuer)}</div>
          <div>
            {keyType} {keyBits}
          </div>
          <div>{texts.fingerprint(fingerprint256)}</div>
        </>
      }
      multiline
      maw={420}
      className="break"
      events={{ hover: true, focus: true, touch: true }}
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what the tooltip says must be reached by keyboard */}
      <span tabIndex={0}>{subject}</span>
    </Tooltip>
  );
}

function KeyCard({
  name,
  description,
  mark,
  disabledBecause,
  onEdit,
  onRemove,
  children,
}: {
  name: string;
  description: string | null;
  mark?: ReactNode;
  children: ReactNode;
} & Actions) {
  const disabled = { disabled: disabledBecause !== undefined, title: disabledBecause };
  return (
    <Card withBorder component="section" aria-label={name} p="sm">
      <Group justify="space-between" align="flex-start" mb={4} gap="xs">
        <div style={{ minWidth: 0 }}>
          <Group gap="xs">
            <Title order={3} size="h6" className="break">
              {name}
            </Title>
            {mark}
          </Group>
          {description && (
            <Text size="sm" c="dimmed" className="break">
              {description}
            </Text>
          )}
        </div>
        <Group gap={4}>
          <Button
            variant="default"
            size="compact-sm"
            onClick={onEdit}
            aria-label={texts.edit(name)}
            {...disabled}
          >
            {common.edit}
          </Button>
          <Button
            variant="subtle"
            color="red"
            size="compact-sm"
            onClick={onRemove}
            aria-label={texts.remove(name)}
            {...disabled}
          >
            {common.remove}
          </Button>
        </Group>
      </Group>
      {children}
    </Card>
  );
}
