import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react(), gzipped()],
  build: {
    target: 'es2022',
    // Under `font-src 'self'` and `img-src 'self' data:`; small icons may be inlined.
    assetsInlineLimit: (file) => (file.endsWith('.svg') ? undefined : false),
    chunkSizeWarningLimit: 1000,
  },
  // For work on the console: `npm run console:dev` beside a running `npm start`.
  server: { proxy: { '/apiops': 'http://127.0.0.1:8080' } },
});

/** A .gz beside each asset, so that the server compresses nothing. */
function gzipped(): Plugin {
  const compress = promisify(gzip);
  let outDir = '';
  return {
    name: 'gzipped',
    apply: 'build',
    configResolved(config) {
      outDir = join(config.root, config.build.outDir, 'assets');
    },
    async closeBundle() {
      for (const name of await readdir(outDir))
        await writeFile(
          join(outDir, `${name}.gz`),
          await compress(await readFile(join(outDir, name)), { level: 9 }),
        );
    },
  };
}
