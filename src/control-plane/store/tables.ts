/**
 * The rows as both databases hold them: times are integers (ms since the epoch), booleans are 0 or
 * 1, JSON is text, ids are random text. `migrations/` make exactly these.
 */
export interface Tables {
  meta: { key: string; value: string };
  /** One row: the last change sequence number; taken last in a transaction. */
  change_counter: { id: number; value: number };
  projects: { id: string; name: string; description: string | null; created_at: number };
  project_environments: { project_id: string; environment_id: string };
  environments: {
    id: string;
    name: string;
    description: string | null;
    type: string;
    created_at: number;
  };
  connections: {
    id: string;
    project_id: string;
    name: string;
    /** Folded name; unique per project among rows that are not deleted. */
    name_key: string;
    type: string;
    revision: number;
    /** Sequence number of the last change, deletion included. */
    seq: number;
    enabled: number;
    deploy_to_worker: number;
    /** JSON list of environment names; empty: all of the project's. */
    environments: string;
    /** The whole body as Get answers it, secrets null or `***`. */
    masked: string;
    /** JSON object: JSON pointer → ciphertext; `{}` when there are none. */
    sealed: string;
    created_at: number;
    updated_at: number;
    deleted_at: number | null;
  };
  revisions: {
    connection_id: string;
    revision: number;
    action: string;
    name: string;
    masked: string;
    sealed: string;
    author: string;
    at: number;
  };
  /** What an environment was last told of a connection. */
  deployments: {
    connection_id: string;
    environment_id: string;
    /** 1: undeployed by hand, until the next change or deploy. */
    undeployed: number;
    last_good_revision: number | null;
    updated_at: number;
  };
  verdicts: {
    connection_id: string;
    worker_id: string;
    environment_id: string;
    revision: number;
    step: string;
    code: string | null;
    message: string | null;
    serving: number | null;
    /** JSON list of texts. */
    warnings: string;
    at: number;
  };
  /** SSH host keys that connections trust, by environment and server. */
  host_keys: {
    connection_id: string;
    environment_id: string;
    /** `host:port` */
    server: string;
    algorithm: string;
    /** `SHA256:…` */
    fingerprint: string;
    pinned_at: number;
    /** The worker that saw it first, or who accepted it. */
    pinned_by: string;
    /** The last other key that was refused since. */
    refused_algorithm: string | null;
    refused_fingerprint: string | null;
    refused_at: number | null;
  };
  workers: {
    id: string;
    environment_id: string;
    name: string;
    version: string;
    first_seen: number;
    last_seen: number;
    connected: number;
    /** Last sequence number it has received. */
    cursor: number;
  };
  enrollment_tokens: {
    id: string;
    environment_id: string;
    name: string;
    hash: string;
    created_at: number;
    created_by: string;
    revoked_at: number | null;
  };
  users: {
    id: string;
    username: string;
    username_key: string;
    password_hash: string;
    admin: number;
    disabled: number;
    /** JSON list of grants. */
    grants: string;
    created_at: number;
  };
  tokens: {
    id: string;
    name: string;
    /** null: belongs to no user (the first admin token). */
    user_id: string | null;
    /** base64url SHA-256. */
    hash: string;
    /** personal: made by hand · access: answered by auth/token · admin: the start's own */
    kind: string;
    grants: string;
    /** Id of the token that made it; null for the start's own and for log-ins. */
    made_by: string | null;
    created_at: number;
    expires_at: number | null;
  };
  audit: {
    id: string;
    at: number;
    project: string | null;
    actor: string;
    action: string;
    target: string;
    /** JSON, free of secrets. */
    details: string;
    request_id: string | null;
  };
  idempotency: {
    principal: string;
    key: string;
    method: string;
    path: string;
    body_hash: string;
    status: number;
    body: string;
    created_at: number;
  };
  health_minutes: {
    connection_id: string;
    worker_id: string;
    environment_id: string;
    minute: number;
    state: string;
    since: number;
    error_code: string | null;
    error_message: string | null;
    error_at: number | null;
    ok: number;
    failed: number;
    total_ms: number;
    max_ms: number;
    /** JSON object of figures. */
    figures: string;
  };
  /** What a revision refers to by name: of the current revision, and of those that are last good somewhere. */
  connection_references: {
    connection_id: string;
    revision: number;
    /** variable: within a text · secret: a variable that is a whole secret · keystore · certificate */
    kind: string;
    name: string;
  };
  variables: {
    id: string;
    project_id: string;
    name: string;
    description: string | null;
    global: number;
    /** JSON list of host globs. */
    allowed_hosts: string;
    /** Counts the changes. */
    version: number;
    created_at: number;
    updated_at: number;
  };
  variable_values: {
    variable_id: string;
    /** Name of the environment; empty: the global value. */
    environment: string;
    visible: number;
    /** Of a visible one. */
    value: string | null;
    /** Ciphertext of one that is not visible. */
    sealed: string | null;
  };
  keystores: {
    id: string;
    project_id: string;
    name: string;
    description: string | null;
    version: number;
    created_at: number;
    updated_at: number;
  };
  keystore_files: {
    keystore_id: string;
    environment: string;
    type: string;
    alias: string | null;
    /** Ciphertexts; of the file's base64. */
    sealed_file: string;
    sealed_password: string;
    /** JSON: what the file holds, as Get tells it. */
    contents: string;
    /** The soonest end of a certificate in it. */
    expires_at: number | null;
  };
  certificates: {
    id: string;
    project_id: string;
    name: string;
    description: string | null;
    alias: string | null;
    /** JSON list of environment names; empty: all. */
    environments: string;
    pem: string;
    contents: string;
    expires_at: number | null;
    version: number;
    created_at: number;
    updated_at: number;
  };
}
