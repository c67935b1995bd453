import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { Refusal } from '../../functions/refusal.ts';
import { readSettings, settingsSchema } from '../../functions/settings.ts';
import { developmentKeys } from '../../functions/signing-keys.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'plinth-settings-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const documents = path.join(folder, 'documents.json');
writeFileSync(documents, '{}');
const secret = Buffer.alloc(32, 7).toString('base64url');

/** The lines of a Refusal that name mistakes, as "NAME problem". */
function mistakes(env: Record<string, string>): string[] {
  try {
    readSettings(env);
  } catch (error) {
    if (error instanceof Refusal)
      return error.message
        .split('\n')
        .slice(1)
        .map((line) => line.trim());
    throw error;
  }
  return [];
}

t.test('nothing needs to be set in development', async (t) => {
  const settings = readSettings({ PORT: '', LOG_FORMAT: 'pretty' });
  t.match(settings, { plinthEnv: 'development', host: 'localhost', port: 4000, introspection: true, graphiql: true });
  t.equal(settings.outbox, path.join(settings.plinthData, 'outbox'));
  t.equal(settings.plinthData, path.join(import.meta.dirname, '../../.plinth'));
});

t.test('every variable is read under its camelCase name', async (t) => {
  const env = {
    PLINTH_ENV: 'production',
    HOST: '0.0.0.0',
    PORT: '8080',
    PLINTH_DATA: folder,
    DATABASE_URL: 'postgres://owner:secret@db:5432/plinth',
    SERVER_DATABASE_URL: 'postgresql://plinth_server:secret@db:5432/plinth',
    READ_DATABASE_URL: 'postgres://replica/plinth',
    READ_MAX_LAG_MS: '500',
    POOL_SIZE: '20',
    REDIS_URL: 'redis://cache:6379/1',
    WORKERS: 'no',
    WORKER_CONCURRENCY: '7',
    FILE_STORAGE: 's3://bucket/files',
    S3_PUBLIC_ENDPOINT: 'https://files.example',
    JWT_KEYS: `new:${secret},old:${secret}`,
    INTROSPECTION: 'yes',
    GRAPHIQL: '0',
    TRUSTED_DOCUMENTS: documents,
    TRUSTED_DOCUMENTS_ONLY: 'true',
    TRUSTED_PROXIES: '2',
    CORS_ORIGINS: 'https://a.example, http://localhost:3000',
    MAX_CONNECTIONS: '5',
    MAX_CONNECTIONS_PER_ADDRESS: '6',
    MAX_BODY_BYTES: '1',
    MAX_QUERY_BYTES: '2',
    MAX_TOKENS: '3',
    MAX_DEPTH: '4',
    MAX_ALIASES: '0',
    MAX_COST: '6',
    MAX_PAGE: '7',
    MAX_ANSWER_BYTES: '1008',
    MAX_SUBSCRIPTIONS_PER_CONNECTION: '8',
    MAX_SUBSCRIPTIONS_PER_USER: '9',
    MAX_BACKLOG_BYTES: '1001',
    MAX_EVENT_BYTES: '1002',
    LOG_LEVEL: 'silent',
    LOG_FORMAT: 'json',
    SLOW_QUERY_MS: '250',
    LOG_PARAMETERS: 'no',
    METRICS: 'off',
    METRICS_TOKEN: 'sixteen letters!',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
    OTEL_SERVICE_NAME: 'harbour',
    ERROR_REPORTER: documents,
    OUTBOX: path.join(folder, 'mail'),
    WEBHOOKS_PRIVATE: 'true',
    BACKUP_STORAGE: 's3://bucket/backups',
    BACKUP_KEY: Buffer.alloc(32, 7).toString('base64url'),
    BACKUP_PLAIN: 'yes',
    CREDENTIALS_KEY: Buffer.alloc(32, 8).toString('base64url'),
    TELEGRAM_API: 'http://localhost:8081',
    VAULT_SECRET: 'secret/plinth',
    VAULT_ADDR: 'https://vault.example:8200',
    VAULT_TOKEN: 'hvs.token',
    INTENT_URL: 'http://intents:8000/ask',
    INTENT_TOKEN: 'a token',
    INTENT_TIMEOUT_MS: '300',
    WHATSAPP_API: 'http://localhost:8082/v25.0',
    WILDBERRIES_API: 'http://localhost:8082/*',
    OZON_API: 'http://localhost:8083',
    GOSZAKUP_API: 'http://localhost:8082',
    GOSZAKUP_TOKEN: 'secret',
    PUBLIC_URL: 'https://plinth.example',
    S3_ENDPOINT: 'http://localhost:9000',
    S3_REGION: 'eu-central-1',
    S3_KEY: 'id',
    S3_SECRET: 'secret',
  };
  t.same(Object.keys(env).sort(), Object.keys(settingsSchema.shape).sort(), 'this test sets every setting');
  t.same(readSettings(env), {
    plinthEnv: 'production',
    development: false,
    host: '0.0.0.0',
    port: 8080,
    plinthData: folder,
    databaseUrl: env.DATABASE_URL,
    serverDatabaseUrl: env.SERVER_DATABASE_URL,
    readDatabaseUrl: 'postgres://replica/plinth',
    readMaxLagMs: 500,
    poolSize: 20,
    redisUrl: 'redis://cache:6379/1',
    workers: false,
    workerConcurrency: 7,
    jwtKeys: [
      { kid: 'new', key: new Uint8Array(32).fill(7) },
      { kid: 'old', key: new Uint8Array(32).fill(7) },
    ],
    introspection: true,
    graphiql: false,
    trustedDocuments: documents,
    trustedDocumentsOnly: true,
    trustedProxies: 2,
    corsOrigins: ['https://a.example', 'http://localhost:3000'],
    maxConnections: 5,
    maxConnectionsPerAddress: 6,
    maxBodyBytes: 1,
    maxQueryBytes: 2,
    maxTokens: 3,
    maxDepth: 4,
    maxAliases: 0,
    maxCost: 6,
    maxPage: 7,
    maxAnswerBytes: 1008,
    maxSubscriptionsPerConnection: 8,
    maxSubscriptionsPerUser: 9,
    maxBacklogBytes: 1001,
    maxEventBytes: 1002,
    logLevel: 'silent',
    logFormat: 'json',
    slowQueryMs: 250,
    logParameters: false,
    metrics: false,
    metricsToken: 'sixteen letters!',
    otelExporterOtlpEndpoint: 'http://collector:4318',
    otelServiceName: 'harbour',
    errorReporter: documents,
    outbox: path.join(folder, 'mail'),
    fileStorage: 's3://bucket/files',
    s3PublicEndpoint: 'https://files.example',
    webhooksPrivate: true,
    backupStorage: 's3://bucket/backups',
    backupKey: [new Uint8Array(32).fill(7)],
    backupPlain: true,
    credentialsKey: [new Uint8Array(32).fill(8)],
    telegramApi: 'http://localhost:8081',
    vaultSecret: 'secret/plinth',
    vaultAddr: 'https://vault.example:8200',
    vaultToken: 'hvs.token',
    intentUrl: 'http://intents:8000/ask',
    intentToken: 'a token',
    intentTimeoutMs: 300,
    whatsappApi: 'http://localhost:8082/v25.0',
    wildberriesApi: 'http://localhost:8082/*',
    ozonApi: 'http://localhost:8083',
    goszakupApi: 'http://localhost:8082',
    goszakupToken: 'secret',
    publicUrl: 'https://plinth.example',
    s3Endpoint: 'http://localhost:9000',
    s3Region: 'eu-central-1',
    s3Key: 'id',
    s3Secret: 'secret',
  });
});

t.test('every setting is described', async (t) => {
  for (const [name, schema] of Object.entries(settingsSchema.shape)) t.match(schema.meta()?.description, /\.$/, name);
});

t.test('all mistakes are reported at once, by name', async (t) => {
  const wrong = {
    PLINTH_ENV: 'prod',
    PORT: '65536',
    POOL_SIZE: '0',
    DATABASE_URL: 'mysql://db/plinth',
    JWT_KEYS: `short:${secret.slice(0, 20)},${secret},twice:${secret},twice:${secret}`,
    INTROSPECTION: 'perhaps',
    TRUSTED_DOCUMENTS: path.join(folder, 'missing.json'),
    CORS_ORIGINS: 'https://a.example/path',
    MAX_PAGE: '1e3',
    LOG_LEVEL: 'loud',
    PLINTH_DTAA: 'x',
    PLINTH_PORT: '80',
    PLINTH_SOMETHING_ELSE: 'x',
    SERVER_DATABASE_URL: 'postgres://db',
  };
  const found = mistakes(wrong);
  for (const name of Object.keys(wrong).filter((name) => name !== 'SERVER_DATABASE_URL')) {
    t.ok(
      found.some((line) => line.startsWith(`${name} `)),
      name,
    );
  }
  t.ok(found.includes('PLINTH_DTAA is not a setting of Plinth; did you mean PLINTH_DATA?'));
  t.ok(found.includes('PLINTH_PORT is not a setting of Plinth; did you mean PORT?'));
  t.ok(found.includes('PLINTH_SOMETHING_ELSE is not a setting of Plinth'));
  t.notOk(
    found.some((line) => line.includes(secret)),
    'the values of secrets are not told',
  );
});

t.test('mistakes between settings are found beside others', async (t) => {
  t.match(
    mistakes({ NODE_ENV: 'production', SERVER_DATABASE_URL: 'postgres://db', TRUSTED_DOCUMENTS_ONLY: 'on', PORT: 'x' }),
    [/^PORT /, /^JWT_KEYS must be set in production/, /^SERVER_DATABASE_URL /, /^TRUSTED_DOCUMENTS_ONLY /],
  );
  t.equal(readSettings({ NODE_ENV: 'production', PLINTH_ENV: 'development' }).plinthEnv, 'development');
});

t.test('development signs with a key that is made once', async (t) => {
  const settings = readSettings({ PLINTH_DATA: path.join(folder, 'keys') });
  const [key] = developmentKeys(settings);
  t.same(developmentKeys(settings), [key]);
  t.equal(key?.key.length, 32);
  t.equal(statSync(path.join(folder, 'keys', 'keys.json')).mode & 0o777, 0o600);
  const JWT_KEYS = `prod:${Buffer.from(key?.key ?? []).toString('base64url')}`;
  const production = { PLINTH_ENV: 'production', PLINTH_DATA: settings.plinthData };
  t.match(mistakes({ ...production, JWT_KEYS }), [/JWT_KEYS key prod is a development key/]);
  t.throws(() => developmentKeys(readSettings({ ...production, JWT_KEYS: `k:${secret}` })), Refusal);
  writeFileSync(path.join(folder, 'keys', 'keys.json'), '{"keys":[]}');
  t.throws(() => developmentKeys(settings), { name: 'Refusal', remedy: /Delete the file/ });
});
