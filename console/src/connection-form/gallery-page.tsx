import { Alert, Card, CloseButton, Group, SimpleGrid, Skeleton, Text, TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { type KeyboardEvent, useRef, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { EmptyState } from '../parts/empty-state.tsx';
import { ErrorAlert } from '../parts/error-alert.tsx';
import { PageHeader } from '../parts/page-header.tsx';
import { TypeIcon } from '../parts/type-icon.tsx';
import { usePermissions, useSession } from '../session/session.tsx';
import { connectionForm as texts } from '../texts/connection-form.ts';
import classes from './gallery-page.module.css';

/** All connection types, to begin a connection of one. */
export function GalleryPage() {
  const { project = '' } = useParams();
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const navigate = useNavigate();
  const [search, setSearch] = useState('');
  const cards = useRef<HTMLDivElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const { data, error, refetch } = useQuery({
    queryKey: ['connection-types'],
    queryFn: () => plugboard.listTypes(),
    staleTime: Number.POSITIVE_INFINITY,
  });

  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = (data?.resultList ?? []).filter(({ type, title, summary, operations }) => {
    const text = `${type} ${title} ${summary} ${operations.join(' ')}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const to = (type: string) => `/ui/p/${encodeURIComponent(project)}/new/${encodeURIComponent(type)}`;

  const fromSearch = (event: KeyboardEvent) => {
    if (event.key === 'ArrowDown') {
      event.preventDefault();
      linksIn(cards.current)[0]?.focus();
    } else if (event.key === 'Enter' && words.length > 0 && found[0]) navigate(to(found[0].type));
    else if (event.key === 'Escape') setSearch('');
  };
  const amongCards = (event: KeyboardEvent) => {
    const links = linksIn(cards.current);
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    if (at < 0) return;
    const next = neighbour(links, at, event.key);
    if (next === undefined) return;
    event.preventDefault();
    (next < 0 ? field.current : links[next])?.focus();
  };

  return (
    <>
      <PageHeader title={texts.galleryTitle} summary={texts.gallerySummary} />
      {!may('CONNECTIONS:MANAGE') && (
        <Alert color="yellow" mb="md">
          {texts.notCreatable}
        </Alert>
      )}
      <TextInput
        ref={field}
        label={texts.gallerySearch}
        description={texts.galleryHint}
        placeholder={texts.galleryPlaceholder}
        leftSection={<IconSearch size={16} />}
        rightSection={
          search !== '' && <CloseButton aria-label={texts.clearSearch} onClick={() => setSearch('')} />
        }
        value={search}
        onChange={(event) => setSearch(event.currentTarget.value)}
        onKeyDown={fromSearch}
        maw={480}
        mb="xs"
        data-autofocus
        autoFocus
      />
      <Text size="sm" c="dimmed" role="status" mb="md">
        {data ? texts.galleryCount(found.length) : ' '}
      </Text>
      {error && <ErrorAlert error={error} onRetry={() => void refetch()} />}
      {data && found.length === 0 && (
        <EmptyState title={texts.galleryNothing(search)} help={texts.galleryNothingHelp} />
      )}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }} ref={cards} onKeyDown={amongCards}>
        {!data && !error && <Skeleton height={96} />}
        {found.map(({ type, title, summary }) => (
          <Card key={type} component={Link} to={to(type)} withBorder padding="md" className={classes.card}>
            <Group wrap="nowrap" align="flex-start" gap="sm">
              <TypeIcon type={type} />
              <div>
                <Text fw={600}>{title}</Text>
                <Text size="sm" c="dimmed">
                  {summary}
                </Text>
              </div>
            </Group>
          </Card>
        ))}
      </SimpleGrid>
    </>
  );
}

function linksIn(place: HTMLElement | null): HTMLAnchorElement[] {
  return [...(place?.querySelectorAll('a') ?? [])];
}

/** The card that an arrow leads to: -1 for the search above; undefined for none. */
function neighbour(links: readonly HTMLElement[], at: number, key: string): number | undefined {
  const here = links[at]!;
  const inColumn = (from: number[]) => from.find((place) => links[place]!.offsetLeft === here.offsetLeft);
  const places = links.map((_, place) => place);
  switch (key) {
    case 'ArrowRight':
      return at + 1 < links.length ? at + 1 : undefined;
    case 'ArrowLeft':
      return at > 0 ? at - 1 : -1;
    case 'ArrowDown':
      return inColumn(places.slice(at + 1));
    case 'ArrowUp':
      return inColumn(places.slice(0, at).reverse()) ?? -1;
    case 'Home':
      return 0;
    case 'End':
      return links.length - 1;
    default:
      return undefined;
  }
}
