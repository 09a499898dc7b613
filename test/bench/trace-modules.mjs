// Preloaded into the product by `node --import`: notes every module that is loaded, ESM and CommonJS alike.
import { writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const loaded = new Set();
registerHooks({
  load(url, context, nextLoad) {
    loaded.add(url);
    return nextLoad(url, context);
  },
});
process.on('SIGUSR2', () => writeFileSync(process.env.BENCH_MODULES_FILE, JSON.stringify([...loaded])));
