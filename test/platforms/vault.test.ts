import { spawn } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { openVault } from '../functions/vault-server.ts';
import { openPlatformWorld, writes } from './platform-world.ts';

// The whole worker, as `npm run worker` starts it, whose key is in Vault and nowhere else.

const world = await openPlatformWorld(t);
const { ask, connect, eventually, person, post, telegram } = world;
const vault = await openVault(t);
const { CREDENTIALS_KEY, ...others } = world.env;
await vault.put('plinth', { CREDENTIALS_KEY });
const script = path.join(import.meta.dirname, '..', '..', 'scripts', 'worker.ts');
const worker = spawn(process.execPath, [script], {
  env: {
    ...{ PATH: process.env.PATH, ...others, ...vault.env('plinth') },
    ...{ DATABASE_URL: world.databaseUrl, LOG_LEVEL: 'silent' },
  },
  stdio: ['ignore', 'ignore', 'inherit'],
});
t.teardown(() => void worker.kill('SIGKILL'));

t.test('an account is linked by a code, once, with the key in Vault (D5, D7)', async (t) => {
  const bot = await connect('zoya');
  const fay = await person('fay');
  const { data } = await ask('mutation { createLinkCode { linkCode { code } } }', {}, fay.token);
  const { code } = data.createLinkCode.linkCode;
  for (const text of [`/connect ${code}`, `/connect ${code}`]) await post(bot, writes(991, text));
  const answers = await eventually('both are answered', async () => telegram.shown.length === 2 && telegram.shown);
  t.match(
    answers.map(({ text }) => text),
    ['You are connected as fay.', /wrong, spent or expired/],
  );
  t.ok(vault.state.asked >= 2, 'it has read the secret');
});
