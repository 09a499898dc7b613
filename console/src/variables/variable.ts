export interface VariableValue {
  environmentName: string;
  /** null: hidden, or not shown to this token. */
  value: string | null;
  visible: boolean;
}

export interface Variable {
  name: string;
  description: string | null;
  global: boolean;
  globalValue: string | null;
  globalVisible: boolean;
  allowedHosts: string[];
  environmentValueList: VariableValue[];
}

/** Path of the variables of a project in the API, or of one of them. */
export function variablesApi(project: string, name?: string): string {
  const list = `/apiops/projects/${encodeURIComponent(project)}/environmentVariables/`;
  return name === undefined ? list : `${list}${encodeURIComponent(name)}/`;
}
