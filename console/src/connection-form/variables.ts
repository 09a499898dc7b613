import { useQuery } from '@tanstack/react-query';
import type { ListAnswer } from '../../../client/plugboard.ts';
import { variableTemplate } from '../../../src/contract/reference-syntax.ts';
import { usePermissions, useSession } from '../session/session.tsx';

/** A variable as the API lists it; the value of one that is not visible is null. */
export interface Variable {
  name: string;
  description: string | null;
  global: boolean;
  globalValue: string | null;
  globalVisible: boolean;
  environmentValueList: { environmentName: string; value: string | null; visible: boolean }[];
}

/** The project's variables; none without the permission to see them. */
export function useVariables(project: string): readonly Variable[] {
  const { plugboard } = useSession();
  const { may } = usePermissions(project);
  const { data } = useQuery({
    queryKey: [project, 'variables'],
    queryFn: () =>
      plugboard.request<ListAnswer<Variable>>(
        'GET',
        `/apiops/projects/${encodeURIComponent(project)}/environmentVariables/`,
      ),
    enabled: may('VARIABLES:VIEW'),
  });
  return data?.resultList ?? none;
}

const none: readonly Variable[] = [];

/** Whether some value of it may only be a whole secret. */
export function isHidden(variable: Variable): boolean {
  return (
    (variable.global && !variable.globalVisible) ||
    variable.environmentValueList.some(({ visible }) => !visible)
  );
}

export type Preview = { environment: string } & (
  | { state: 'value'; text: string }
  | { state: 'hidden' | 'missing' | 'unknown'; variable: string }
);

/** What a text with variables stands for in each environment. */
export function previews(
  text: string,
  variables: readonly Variable[],
  environments: readonly string[],
): Preview[] {
  return environments.map((environment) => {
    let trouble: Preview | undefined;
    const resolved = text.replaceAll(variableTemplate, (match, name: string) => {
      if (match.startsWith('$$')) return match.slice(1);
      const variable = variables.find((one) => one.name === name);
      const own = variable?.environmentValueList.find((one) => one.environmentName === environment);
      const found = own ?? (variable?.global ? globalOf(variable) : undefined);
      if (!variable) trouble ??= { environment, state: 'unknown', variable: name };
      else if (!found) trouble ??= { environment, state: 'missing', variable: name };
      else if (!found.visible || found.value === null)
        trouble ??= { environment, state: 'hidden', variable: name };
      return found?.value ?? '';
    });
    return trouble ?? { environment, state: 'value', text: resolved };
  });
}

function globalOf(variable: Variable): { value: string | null; visible: boolean } {
  return { value: variable.globalValue, visible: variable.globalVisible };
}
