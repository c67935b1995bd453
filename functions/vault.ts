import { z } from 'zod';
import { TooLong, textOf } from './http-answer.ts';
import { nearestName } from './nearest-name.ts';
import { openPolicies } from './policies.ts';
import { Refusal } from './refusal.ts';
import { readSettings, type Settings, settingsSchema } from './settings.ts';

type Env = Record<string, string | undefined>;
type Vault = { VAULT_ADDR: string; VAULT_TOKEN: string; VAULT_SECRET: string };

const answersWithin = 5000;
const mostBytes = 1024 * 1024;
const names = Object.keys(settingsSchema.shape).filter((name) => !name.startsWith('VAULT_'));
const vaultSchema = settingsSchema.pick({ VAULT_ADDR: true, VAULT_TOKEN: true, VAULT_SECRET: true }).required();

// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version
const answer = z.object({ data: z.object({ data: z.record(z.string(), z.unknown()) }) });

/**
 * The settings of environment variables, and of the secret of Vault that VAULT_SECRET names: a setting a key. What the environment says
 * itself holds.
 *
 * @throws Refusal as readSettings does, and where Vault does not give the secret.
 */
export async function loadSettings(env: Env): Promise<Settings> {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value?.trim()));
  // Where these are wrong, readSettings says so.
  const vault = vaultSchema.safeParse(set).data as Vault | undefined;
  return readSettings({ ...(vault && (await secretsOf(vault))), ...set });
}

async function secretsOf(vault: Vault): Promise<Env> {
  const { apiClient } = openPolicies({
    warn: (details, message) => console.warn(`${message} ${JSON.stringify(details)}`),
  });
  const secrets = await apiClient('the secrets are read from Vault', () => read(vault));
  const strange = Object.keys(secrets).filter((name) => !names.includes(name));
  const wrong = Object.keys(secrets).filter((name) => typeof secrets[name] !== 'string' && names.includes(name));
  if (strange.length + wrong.length === 0) return secrets as Env;
  throw new Refusal(`The secret ${vault.VAULT_SECRET} of Vault does not hold settings:`, {
    remedy: [
      ...strange.map((name) => `  ${name} is no setting${nearOf(name)}`),
      ...wrong.map((name) => `  ${name} must be a text`),
    ].join('\n'),
  });
}

function nearOf(name: string): string {
  const near = nearestName(name, names);
  return near ? `; did you mean ${near}?` : ' that can stand there';
}

/** @throws Refusal; a `permanent` one where to ask again is of no use. Neither the token nor a secret is in it. */
async function read({ VAULT_ADDR: address, VAULT_TOKEN: token, VAULT_SECRET: secret }: Vault) {
  const [mount = '', ...rest] = secret.split('/').map(encodeURIComponent);
  const url = `${address.replace(/\/+$/, '')}/v1/${mount}/data/${rest.join('/')}`;
  const response = await fetch(url, {
    headers: { 'x-vault-token': token, 'x-vault-request': 'true' },
    signal: AbortSignal.timeout(answersWithin),
  }).catch((error: Error) => {
    const cause = (error.cause as NodeJS.ErrnoException | undefined)?.code ?? error.name;
    throw refusal(`Vault does not answer at VAULT_ADDR: ${cause}`, 'Is it there, and does the address begin rightly?');
  });
  const text = await textOf(response, mostBytes).catch((error) => {
    throw error instanceof TooLong
      ? refusal('Vault answered what no KV engine of version 2 answers.', 'Is VAULT_SECRET in such an engine?', true)
      : refusal('Vault broke off in its answer.', 'Is it there?');
  });
  if (response.ok) {
    const parsed = answer.safeParse(parse(text));
    if (parsed.data) return parsed.data.data.data;
    throw refusal('Vault answered what no KV engine of version 2 answers.', 'Is VAULT_SECRET in such an engine?', true);
  }
  if (response.status === 403) {
    throw refusal(`Vault does not let VAULT_TOKEN read ${secret}.`, 'Give it a token that may, or renew it.', true);
  }
  if (response.status === 404) {
    throw refusal(`Vault has no secret ${secret}.`, `Make it: vault kv put ${secret} CREDENTIALS_KEY=…`, true);
  }
  const isOurs = response.status >= 400 && response.status < 500 && response.status !== 412 && response.status !== 429;
  const said =
    z
      .object({ errors: z.array(z.string()) })
      .safeParse(parse(text))
      .data?.errors.join('; ') ?? '';
  throw refusal(`Vault answered ${response.status}: ${said.slice(0, 300)}`, 'Is it sealed, or overloaded?', isOurs);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(problem: string, remedy: string, permanent = false): Refusal {
  return Object.assign(new Refusal(problem, { remedy }), { permanent });
}
