/** The environments of a project that a connection goes to: the listed ones, or all when none is listed. */
export function targetsOf(project: { environments: readonly string[] }, listed: readonly string[]): string[] {
  return listed.length === 0
    ? [...project.environments]
    : project.environments.filter((name) => listed.includes(name));
}
