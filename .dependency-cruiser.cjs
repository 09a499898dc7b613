/** The arrows of ARCHITECTURE.md. */
const rule = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

module.exports = {
  forbidden: [
    rule('no-cycles', 'A cycle has no reading order.', {}, { circular: true }),
    rule(
      'contract-is-pure',
      'The contract is safe in a browser: it knows nothing of ours and no I/O.',
      { path: '^src/contract', pathNot: '\\.test\\.ts$' },
      {
        path: ['^src/(?!contract)', '^node:', '^(fs|net|tls|http|https|child_process|crypto)$'],
        dependencyTypesNot: ['type-only'],
      },
    ),
    rule(
      'definitions-know-the-contract-only',
      'A definition is data: no driver, no I/O.',
      { path: '\\.definition\\.ts$' },
      { path: '^src/(?!contract|connectors/[^/]+/[^/]+\\.ts$)|\\.connector\\.ts$' },
    ),
    rule(
      'connectors-stand-alone',
      'A connector knows its own folder, the live interface, the contract, the errors, the crowd and lives; syslog and graylog share their delivery.',
      { path: '^src/connectors/([^/]+)/.+', pathNot: '\\.test\\.ts$' },
      {
        path: '^src/',
        pathNot: [
          '^src/connectors/$1/',
          '^src/connectors/transport/',
          '^src/connectors/connector\\.ts$',
          '^src/connectors/log-delivery/',
          '^src/connectors/messaging/',
          '^src/connectors/http/',
          '^src/trust-material/keystore\\.ts$',
          '^src/contract/',
          '^src/(errors|crowd|life)\\.ts$',
        ],
      },
    ),
    rule(
      'control-plane-opens-no-connection',
      'The control plane loads no driver and no connector.',
      { path: '^src/control-plane', pathNot: '\\.test\\.ts$' },
      {
        path: [
          '\\.connector\\.ts$',
          '^src/connectors/connectors\\.ts$',
          '^src/worker',
          '^src/cli',
          '^src/main\\.ts$',
          '^src/config\\.ts$',
        ],
      },
    ),
    rule(
      'worker-knows-no-control-plane',
      'The halves meet in the protocol alone.',
      { path: '^src/worker', pathNot: '\\.test\\.ts$' },
      { path: ['^src/control-plane', '^src/cli', '^src/main\\.ts$', '^src/config\\.ts$'] },
    ),
    rule(
      'trust-material-is-shared',
      'Both halves open keystores by it: it knows the errors alone.',
      { path: '^src/trust-material', pathNot: '\\.test\\.ts$' },
      { path: '^src/', pathNot: ['^src/trust-material/', '^src/errors\\.ts$'] },
    ),
    rule(
      'stores-are-private',
      "A feature reads another feature's rows through its service.",
      { path: '^src/control-plane/([^/]+)/', pathNot: '\\.test\\.ts$' },
      { path: '^src/control-plane/[^/]+/[^/]+\\.store\\.ts$', pathNot: '^src/control-plane/$1/' },
    ),
    rule(
      'cli-speaks-http',
      'What the command line does, a script can do.',
      { path: '^src/cli', pathNot: '\\.test\\.ts$' },
      { path: '^src/', pathNot: ['^src/cli', '^src/contract', '^src/errors\\.ts$', '^src/config\\.ts$'] },
    ),
    rule(
      'nothing-knows-the-demo',
      'The demo stands on packages that are there for development alone.',
      { path: '^(src|client)' },
      { path: '^demo' },
    ),
    rule(
      'console-uses-the-public-api',
      'What the console does, a script can do.',
      { path: '^console/src' },
      { path: '^(src|client|demo|scripts|test)/', pathNot: ['^client/', '^src/contract/'] },
    ),
    rule(
      'client-stands-alone',
      'It is published by itself, and runs in a browser.',
      { path: '^client', pathNot: '\\.test\\.ts$' },
      { path: ['^(src|console|demo|scripts|test)/', '^node:'] },
    ),
    rule(
      'no-unused-dependencies',
      'Only what package.json names.',
      { path: '^(src|client)' },
      { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
