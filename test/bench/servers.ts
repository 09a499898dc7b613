import { requireAllServices, ServerMissing } from '../services/service.ts';

/** The started server; undefined, with a loud line, where it is not on this machine. */
export async function startOrSkipBench<S>(start: () => Promise<S>): Promise<S | undefined> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof ServerMissing) || requireAllServices) throw error;
    process.stdout.write(`\n  !!! ${error.message}: its figures are missing below\n\n`);
    return undefined;
  }
}
