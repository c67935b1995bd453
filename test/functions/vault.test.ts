import t from 'tap';
import { freePort } from '../../functions/embedded/server.ts';
import { Refusal } from '../../functions/refusal.ts';
import { loadSettings } from '../../functions/vault.ts';
import { openVault, vaultToken } from './vault-server.ts';

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64url');
const vault = await openVault(t);

/** What is told to whoever starts it. */
async function refused(env: Record<string, string>): Promise<string> {
  try {
    await loadSettings(env);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const said = `${error.message}\n${error.remedy}`;
    t.notMatch(said, vaultToken, 'the token is in no error');
    t.notMatch(said, key(8), 'no secret is');
    return said;
  }
  throw new Error('Nothing was refused');
}

t.test(
  'settings come from the secret of Vault that is named, the latest version; the environment goes first (D7)',
  async (t) => {
    await vault.put('team/plinth', { CREDENTIALS_KEY: key(7), LOG_LEVEL: 'warn' });
    await vault.put('team/plinth', { CREDENTIALS_KEY: key(8), LOG_LEVEL: 'warn', PORT: '8080' });
    const settings = await loadSettings({ ...vault.env('team/plinth'), PORT: '9090', LOG_LEVEL: ' ' });
    t.match(settings, { logLevel: 'warn', port: 9090 });
    t.same(settings.credentialsKey, [new Uint8Array(32).fill(8)]);
    vault.state.asked = 0;
    t.equal((await loadSettings({ VAULT_ADDR: vault.url, VAULT_TOKEN: vaultToken })).port, 4000);
    t.equal(vault.state.asked, 0, 'what others set for Vault asks nothing of it');
  },
);

t.test('what is wrong is told at once, with what to do', async (t) => {
  await vault.put('gone', { CREDENTIALS_KEY: key(8) });
  await vault.remove('gone');
  await vault.put('strange', { CREDENTIAL_KEY: key(8), PORT: 7, VAULT_TOKEN: 'x' });
  await vault.put('wrong', { CREDENTIALS_KEY: `${key(8)},short` });
  vault.state.asked = 0;
  t.match(await refused({ ...vault.env('plinth'), VAULT_TOKEN: 'another' }), /does not let VAULT_TOKEN read/);
  t.match(await refused(vault.env('nowhere')), /has no secret secret\/nowhere.\nMake it/);
  t.match(await refused(vault.env('gone')), /has no secret/);
  const strange = await refused(vault.env('strange'));
  t.match(strange, /CREDENTIAL_KEY is no setting; did you mean CREDENTIALS_KEY\?/);
  t.match(strange, /PORT must be a text/);
  t.match(strange, /VAULT_TOKEN is no setting/);
  t.match(await refused(vault.env('wrong')), /CREDENTIALS_KEY key 2 must hold 32 bytes/);
  vault.faults.push((response) => response.end('{"data":{"password":"of version 1"}}'));
  t.match(await refused(vault.env('plinth')), /no KV engine of version 2/);
  t.equal(vault.state.asked, 6, 'none of it is asked for again');
  t.match(await refused({ VAULT_SECRET: 'plinth' }), /mount and a path/);
  const missing = await refused({ VAULT_SECRET: 'secret/plinth' });
  t.match(missing, /VAULT_ADDR must be set/);
  t.match(missing, /VAULT_TOKEN must be set/);
  t.match(await refused({ ...vault.env('plinth'), VAULT_ADDR: 'vault:8200' }), /VAULT_ADDR must be a URL/);
});

t.test('what may pass is waited for: three tries', async (t) => {
  await vault.put('plinth', { CREDENTIALS_KEY: key(8) });
  vault.state.asked = 0;
  vault.faults.push(
    (response) => response.writeHead(500).end('{"errors":["internal error"]}'),
    (response) => response.destroy(),
  );
  t.same((await loadSettings(vault.env('plinth'))).credentialsKey, [new Uint8Array(32).fill(8)]);
  t.equal(vault.state.asked, 3);
  vault.state.isSealed = true;
  const said = await Promise.all([
    refused(vault.env('plinth')),
    refused({ ...vault.env('plinth'), VAULT_ADDR: `http://127.0.0.1:${await freePort()}` }),
  ]);
  t.match(said[0], /Vault answered 503: Vault is sealed/);
  t.match(said[1], /Vault does not answer at VAULT_ADDR: ECONNREFUSED/);
  t.equal(vault.state.asked, 6);
});
