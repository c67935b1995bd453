import { existsSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { nearestName } from './nearest-name.ts';
import { Refusal } from './refusal.ts';
import {
  backupKeys,
  choice,
  httpUrl,
  integer,
  origins,
  postgresUrl,
  redisUrl,
  signingKeys,
  starredAddress,
  webAddress,
  yesOrNo,
} from './setting-kinds.ts';
import { isDevelopmentKey } from './signing-keys.ts';

const repository = path.dirname(import.meta.dirname);

/**
 * Every setting of Plinth: an environment variable, what it means, and its default where that is not a plain value.
 * docs/settings.md is written from here (`node scripts/settings.ts`).
 */
export const settingsSchema = z.object({
  PLINTH_ENV: choice(['development', 'production'])
    .optional()
    .describe(
      'What this installation is for. Production insists on its own secrets and closes what only developers need.',
    )
    .meta({ default: 'production if NODE_ENV is, else development' }),
  VAULT_SECRET: z
    .string()
    .regex(/^[^/\s]+(\/[^/\s]+)+$/, { error: 'must be a mount and a path, such as secret/plinth' })
    .optional()
    .describe(
      'A secret of HashiCorp Vault that holds settings, such as secret/plinth: the mount of a KV engine of version 2, and the path in it. ' +
        'Its keys are names of settings, CREDENTIALS_KEY or JWT_KEYS, read once at the start; what the environment sets itself holds.',
    ),
  VAULT_ADDR: webAddress()
    .optional()
    .describe('The address of Vault, such as https://vault.example:8200. It is asked only where VAULT_SECRET is set.'),
  VAULT_TOKEN: z.string().optional().describe('What Vault lets one read VAULT_SECRET by.'),
  HOST: z.string().default('localhost').describe('The name or address to listen on; 0.0.0.0 for every network.'),
  PORT: integer(0, 65535).default(4000).describe('The port to listen on; 0 takes a free one.'),
  TRUSTED_PROXIES: integer(0, 10)
    .default(0)
    .describe(
      'How many proxies stand in front. The address of a client, by which tries are limited, is then taken from X-Forwarded-For, ' +
        'that many entries from its end; 0 takes the address of the connection.',
    ),
  PLINTH_DATA: z
    .string()
    .optional()
    .describe(
      'The folder for everything that Plinth keeps on disk: the embedded database, development keys, the outbox.',
    )
    .meta({ default: '.plinth in the repository' }),
  DATABASE_URL: postgresUrl()
    .optional()
    .describe('The Postgres (15 to 18) to use, as the owner of the database. Without it, an embedded one is started.'),
  SERVER_DATABASE_URL: postgresUrl()
    .optional()
    .describe('The same database as plinth_server, the role that the API logs in as. Only together with DATABASE_URL.'),
  READ_DATABASE_URL: postgresUrl()
    .optional()
    .describe(
      'A streaming replica of the database: queries of users run on it where it is fresh enough. The server logs in as plinth_server, as on ' +
        'the primary; only where the URL names that role does its own password count.',
    ),
  READ_MAX_LAG_MS: integer(100, 60_000)
    .default(1000)
    .describe('How old what the replica shows may be, in milliseconds; otherwise queries run on the primary.'),
  POOL_SIZE: integer(1, 1000).default(10).describe('How many connections the API holds to the database.'),
  REDIS_URL: redisUrl()
    .optional()
    .describe(
      'A Redis (7 or later) that several servers share: what one of them caches and counts, the others know. Without it each has its own ' +
        'memory. Give each installation a database number of its own: redis://host:6379/1.',
    ),
  WORKERS: yesOrNo()
    .default(true)
    .describe(
      'Whether `npm start` runs jobs too. Where it is false, `npm run worker` runs them in processes of their own.',
    ),
  WORKER_CONCURRENCY: integer(1, 100).default(4).describe('How many jobs of graphile-worker one process runs at once.'),
  JWT_KEYS: signingKeys()
    .optional()
    .describe(
      'The keys that sign access tokens, newest first: kid:base64url[,kid:base64url…], at least 32 bytes each. The first signs; ' +
        'all of them verify, so that a key can be replaced while its tokens run out. Required in production.',
    )
    .meta({ default: 'in development, a key made once and kept in PLINTH_DATA' }),
  INTROSPECTION: yesOrNo()
    .optional()
    .describe('Whether clients may ask for the GraphQL schema itself.')
    .meta({ default: 'true in development, false in production' }),
  GRAPHIQL: yesOrNo()
    .optional()
    .describe('Whether a browser that opens the address gets GraphiQL.')
    .meta({ default: 'true in development, false in production' }),
  TRUSTED_DOCUMENTS: z
    .string()
    .refine((file) => existsSync(file), { error: ({ input }) => `must name a file that exists, not "${input}"` })
    .optional()
    .describe('A JSON file {"hash": "text of the document"} of operations that clients may name by their hash.'),
  TRUSTED_DOCUMENTS_ONLY: yesOrNo().default(false).describe('Whether documents outside TRUSTED_DOCUMENTS are refused.'),
  CORS_ORIGINS: origins()
    .default([])
    .describe('The origins, separated by commas, whose pages may call the API; * for all.')
    .meta({ default: 'none' }),
  MAX_CONNECTIONS: integer(1)
    .default(10_000)
    .describe('The most connections of clients at once; more of them are closed unanswered.'),
  MAX_CONNECTIONS_PER_ADDRESS: integer(1)
    .default(2000)
    .describe(
      'The most connections at once of one address, or of one IPv6 network (/64); more of them are closed unanswered. Behind a proxy, set ' +
        'TRUSTED_PROXIES: all come from its address otherwise. What is counted then is WebSockets and event streams; more of them get 429.',
    ),
  MAX_BODY_BYTES: integer(1)
    .default(1_048_576)
    .describe(
      'The largest request body, and message of a WebSocket. Those over 16 kB that are read or answered hold 32 times as much at most.',
    ),
  MAX_QUERY_BYTES: integer(1).default(20_000).describe('The longest GraphQL document, in bytes.'),
  MAX_TOKENS: integer(1).default(2_000).describe('The most tokens in a GraphQL document.'),
  MAX_DEPTH: integer(1).default(12).describe('How deep the fields of an operation may nest.'),
  MAX_ALIASES: integer(0).default(30).describe('The most aliases in an operation.'),
  MAX_COST: integer(1)
    .default(20_000)
    .describe('The most rows that an operation may ask for (the product of its page sizes).'),
  MAX_PAGE: integer(1).default(100).describe('The most rows in one page of a connection.'),
  MAX_ANSWER_BYTES: integer(1000)
    .default(10_485_760)
    .describe('The largest answer of a query or mutation; of one that is larger, only an error is sent.'),
  MAX_SUBSCRIPTIONS_PER_CONNECTION: integer(1)
    .default(100)
    .describe('The most subscriptions and other operations at once on one WebSocket or event stream.'),
  MAX_SUBSCRIPTIONS_PER_USER: integer(1)
    .default(200)
    .describe('The most subscriptions of one user at once, on one server.'),
  MAX_BACKLOG_BYTES: integer(1000)
    .default(1_048_576)
    .describe('How much may wait for a client that reads slowly before its subscription ends; it can resume.'),
  MAX_EVENT_BYTES: integer(1000)
    .default(262_144)
    .describe('The largest result of a subscription for one event; what is larger is fetched by its id.'),
  LOG_LEVEL: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('The least important message that is logged.'),
  LOG_FORMAT: choice(['json', 'pretty'])
    .optional()
    .describe('How a message is logged: a line of JSON for machines, or a line to read.')
    .meta({ default: 'pretty on a terminal, else json' }),
  SLOW_QUERY_MS: integer(1)
    .default(1000)
    .describe('From how many milliseconds on what the server waits for Postgres is slow: it is counted, and logged.'),
  LOG_PARAMETERS: yesOrNo()
    .default(false)
    .describe('Whether a slow query is logged with the values that were sent, secrets among them. Not in production.'),
  METRICS: yesOrNo()
    .optional()
    .describe('Whether /metrics tells Prometheus what the server does; /metrics is not there otherwise.')
    .meta({ default: 'on in development; in production on where METRICS_TOKEN is set, else off' }),
  METRICS_TOKEN: z
    .string()
    .min(16, { error: 'must have at least 16 characters' })
    .optional()
    .describe('What Prometheus has to send (Authorization: Bearer …) to read /metrics. Without it, anyone may.'),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl()
    .optional()
    .describe('Where traces are sent by OTLP over HTTP, such as http://localhost:4318. Without it nothing is traced.'),
  OTEL_SERVICE_NAME: z.string().default('plinth').describe('What the server is called in traces.'),
  ERROR_REPORTER: z
    .string()
    .refine((file) => existsSync(file), { error: ({ input }) => `must name a file that exists, not "${input}"` })
    .optional()
    .describe(
      'A module that exports report(error, {id}): called for every error that nobody foresaw, with the id that the client was told.',
    ),
  OUTBOX: z
    .string()
    .optional()
    .describe('The folder where texts and mails go in development instead of to people.')
    .meta({ default: 'outbox in PLINTH_DATA' }),
  FILE_STORAGE: z
    .string()
    .optional()
    .describe('Where the files of users are: a folder that all servers and workers share, or s3://bucket/prefix.')
    .meta({ default: 'files in PLINTH_DATA' }),
  WEBHOOKS_PRIVATE: yesOrNo()
    .default(false)
    .describe('Whether webhooks may go to private addresses, and by plain http: where their owners are trusted.'),
  BACKUP_STORAGE: z
    .string()
    .optional()
    .describe('Where backups go: a folder, or s3://bucket/prefix.')
    .meta({ default: 'backups in PLINTH_DATA' }),
  BACKUP_KEY: backupKeys()
    .optional()
    .describe(
      'What backups are encrypted with: 32 bytes as base64url. Several, separated by commas: the first encrypts, all decrypt. ' +
        'Without it a backup in production is refused, unless BACKUP_PLAIN is true. Keep it elsewhere than the backups.',
    ),
  BACKUP_PLAIN: yesOrNo().default(false).describe('Whether production may write backups that are not encrypted.'),
  CREDENTIALS_KEY: backupKeys()
    .optional()
    .describe(
      'What the credentials of integrations are encrypted with: 32 bytes as base64url. Several, separated by commas: the first encrypts, ' +
        'all decrypt. Without it none are stored. Every server and worker needs the same; keep it elsewhere than the backups.',
    ),
  TELEGRAM_API: webAddress()
    .default('https://api.telegram.org')
    .describe('Where the Bot API of Telegram is: another one where a server of its own is run.'),
  INTENT_URL: httpUrl()
    .optional()
    .describe(
      'A service that is asked what people on other platforms want by their messages: it gets {text, platform, language} by POST and ' +
        'answers {intent, entities, confidence} (docs/platforms.md). Without it nobody is asked.',
    ),
  INTENT_TOKEN: z.string().optional().describe('What is sent to the service of INTENT_URL as Authorization: Bearer.'),
  INTENT_TIMEOUT_MS: integer(50, 30_000)
    .default(2000)
    .describe('How long messages wait for the service of INTENT_URL, all that come together; then they go on without.'),
  WHATSAPP_API: webAddress()
    .default('https://graph.facebook.com/v25.0')
    .describe('Where the Cloud API of WhatsApp is, its version included.'),
  WILDBERRIES_API: starredAddress()
    .default('https://*.wildberries.ru')
    .describe('Where the API of Wildberries is; * stands for the name of each of its hosts, such as content-api.'),
  OZON_API: webAddress().default('https://api-seller.ozon.ru').describe('Where the Seller API of Ozon is.'),
  GOSZAKUP_API: webAddress()
    .default('https://ows.goszakup.gov.kz')
    .describe('Where the unified services of goszakup.gov.kz (OWS v3) are, from which contracts are imported.'),
  GOSZAKUP_TOKEN: z.string().min(1).optional().describe('The token to them. It is good for a year.'),
  PUBLIC_URL: webAddress()
    .optional()
    .describe(
      'The address that this server has from outside, such as https://plinth.example: platforms are told to call it.',
    ),
  S3_ENDPOINT: webAddress()
    .optional()
    .describe('The address of the S3 service, such as http://localhost:9000.')
    .meta({ default: "Amazon's, of S3_REGION" }),
  S3_PUBLIC_ENDPOINT: webAddress()
    .optional()
    .describe('The address of the S3 service for clients, who upload files to it.')
    .meta({ default: 'S3_ENDPOINT' }),
  S3_REGION: z.string().default('us-east-1').describe('The region of the S3 service.'),
  S3_KEY: z.string().optional().describe('The id of the key to the S3 service.'),
  S3_SECRET: z.string().optional().describe('The secret of that key.'),
});

type Camel<Name extends string> = Name extends `${infer First}_${infer Rest}`
  ? `${Lowercase<First>}${Capitalize<Camel<Rest>>}`
  : Lowercase<Name>;
type Given = z.output<typeof settingsSchema>;
type Decided =
  | 'PLINTH_ENV'
  | 'PLINTH_DATA'
  | 'INTROSPECTION'
  | 'GRAPHIQL'
  | 'LOG_FORMAT'
  | 'METRICS'
  | 'OUTBOX'
  | 'FILE_STORAGE'
  | 'BACKUP_STORAGE';
type Complete = Omit<Given, Decided> & { [Name in Decided]-?: NonNullable<Given[Name]> };

/** The settings under camelCase names: DATABASE_URL is databaseUrl. Folders are absolute paths. */
export type Settings = { [Name in keyof Complete as Camel<Name>]: Complete[Name] } & { development: boolean };

/**
 * Reads the settings from environment variables. An empty variable counts as not set.
 *
 * @throws Refusal that names every mistake at once; the values of secrets are not in it.
 */
export function readSettings(env: Record<string, string | undefined>): Settings {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value.trim() !== ''));
  const parsed = settingsSchema.safeParse(set);
  const mistakes = [
    ...(parsed.error?.issues ?? []).map((issue) => ({ name: String(issue.path[0]), problem: issue.message })),
    ...unknownNames(Object.keys(set)),
    ...contradictions(set),
  ];
  if (parsed.data && mistakes.length === 0) return complete(parsed.data, set.NODE_ENV);
  const lines = mistakes.map(({ name, problem }) => `  ${name} ${problem}`);
  throw new Refusal(
    `${lines.length === 1 ? 'A setting is' : `${lines.length} settings are`} wrong:\n${lines.join('\n')}`,
    { remedy: 'Correct these environment variables and start again; docs/settings.md describes each.' },
  );
}

type Mistake = { name: string; problem: string };

/** What is wrong between settings. Each is read by itself, so that a mistake elsewhere does not hide these. */
function contradictions(set: Record<string, string | undefined>): Mistake[] {
  const production = environmentOf(set) === 'production';
  const { JWT_KEYS: keys, TRUSTED_DOCUMENTS_ONLY: only, LOG_PARAMETERS: parameters } = settingsSchema.shape;
  const isOpen = (key: Uint8Array) => production && isDevelopmentKey(dataFolder(set.PLINTH_DATA), key);
  const mistakes: [boolean, string, string][] = [
    [
      production && !set.JWT_KEYS,
      'JWT_KEYS',
      'must be set in production, such as k1:$(head -c 32 /dev/urandom | base64 | tr +/ -_ | tr -d =)',
    ],
    ...(keys.safeParse(set.JWT_KEYS).data ?? []).map(({ kid, key }): [boolean, string, string] => [
      isOpen(key),
      'JWT_KEYS',
      `key ${kid} is a development key of PLINTH_DATA; production needs its own`,
    ]),
    [
      production && parameters.safeParse(set.LOG_PARAMETERS).data === true,
      'LOG_PARAMETERS',
      'must not be true in production: a log is no place for what people send',
    ],
    ...(['VAULT_ADDR', 'VAULT_TOKEN'] as const).map((name): [boolean, string, string] => [
      !!set.VAULT_SECRET && !set[name],
      name,
      'must be set where VAULT_SECRET is',
    ]),
    [!!set.SERVER_DATABASE_URL && !set.DATABASE_URL, 'SERVER_DATABASE_URL', 'must not be set without DATABASE_URL'],
    [
      only.safeParse(set.TRUSTED_DOCUMENTS_ONLY).data === true && !set.TRUSTED_DOCUMENTS,
      'TRUSTED_DOCUMENTS_ONLY',
      'must not be true without TRUSTED_DOCUMENTS',
    ],
  ];
  return mistakes.flatMap(([is, name, problem]) => (is ? [{ name, problem }] : []));
}

function complete(given: Given, nodeEnv: string | undefined): Settings {
  const environment = environmentOf({ PLINTH_ENV: given.PLINTH_ENV, NODE_ENV: nodeEnv });
  const development = environment === 'development';
  const data = dataFolder(given.PLINTH_DATA);
  const decided: Complete = {
    ...given,
    PLINTH_ENV: environment,
    PLINTH_DATA: data,
    INTROSPECTION: given.INTROSPECTION ?? development,
    GRAPHIQL: given.GRAPHIQL ?? development,
    LOG_FORMAT: given.LOG_FORMAT ?? (process.stdout.isTTY ? 'pretty' : 'json'),
    METRICS: given.METRICS ?? (development || given.METRICS_TOKEN !== undefined),
    OUTBOX: path.resolve(given.OUTBOX ?? path.join(data, 'outbox')),
    FILE_STORAGE: storageAddress(given.FILE_STORAGE ?? path.join(data, 'files')),
    BACKUP_STORAGE: storageAddress(given.BACKUP_STORAGE ?? path.join(data, 'backups')),
  };
  const named = Object.entries(decided).map(([name, value]) => [camelCase(name), value]);
  return { ...Object.fromEntries(named), development } as Settings;
}

function environmentOf({ PLINTH_ENV, NODE_ENV }: { PLINTH_ENV?: string | undefined; NODE_ENV?: string | undefined }) {
  return (PLINTH_ENV ?? NODE_ENV) === 'production' ? 'production' : 'development';
}

function storageAddress(given: string): string {
  return given.startsWith('s3://') ? given : path.resolve(given);
}

function dataFolder(given: string | undefined): string {
  return given ? path.resolve(given) : path.join(repository, '.plinth');
}

function camelCase(name: string): string {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** A PLINTH_ variable that no setting has is a slip of the pen; other names may belong to other programs. */
function unknownNames(names: string[]): Mistake[] {
  const known = Object.keys(settingsSchema.shape);
  return names
    .filter((name) => name.startsWith('PLINTH_') && !known.includes(name))
    .map((name) => {
      const near = nearestName(name, known) ?? nearestName(name.slice('PLINTH_'.length), known);
      return { name, problem: `is not a setting of Plinth${near ? `; did you mean ${near}?` : ''}` };
    });
}
