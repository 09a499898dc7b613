import { type CSSVariablesResolver, createTheme, ScrollArea } from '@mantine/core';

/** Calm: one accent, system fonts (nothing is fetched), small radius. */
export const theme = createTheme({
  primaryColor: 'teal',
  primaryShade: 9,
  defaultRadius: 'sm',
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: '600' },
  cursorType: 'pointer',
  respectReducedMotion: true,
  autoContrast: true,
  components: {
    // So that the keyboard scrolls it, too.
    ScrollArea: ScrollArea.extend({ defaultProps: { viewportProps: { tabIndex: 0 } } }),
  },
});

/** Where the library's own colours have less contrast than 4.5 to 1 (WCAG 2.2, 1.4.3). */
export const contrast: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-teal-filled-hover': '#066649',
    '--mantine-color-dimmed': '#5c636a',
    '--mantine-color-placeholder': '#6b7278',
    '--mantine-color-teal-light-color': '#05543d',
    '--mantine-color-red-light-color': '#a51111',
    '--mantine-color-blue-light-color': '#114f8f',
    '--mantine-color-yellow-light-color': '#7a4300',
    '--mantine-color-gray-light-color': '#343a40',
    '--mantine-color-error': '#c92a2a',
  },
  dark: {
    '--mantine-color-teal-filled-hover': '#066649',
    '--mantine-color-dimmed': '#a6a9ad',
    '--mantine-color-placeholder': '#989da2',
    '--mantine-color-teal-light-color': '#b5f5dc',
    '--mantine-color-red-light-color': '#ffdcdc',
    '--mantine-color-blue-light-color': '#cfe6ff',
    '--mantine-color-yellow-light-color': '#fff0b8',
    '--mantine-color-gray-light-color': '#e2e5e8',
    '--mantine-color-error': '#ff8787',
  },
});
