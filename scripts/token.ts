import { withDatabase } from '../functions/database.ts';
import { openDevelopmentSession } from '../functions/development-sessions.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
import { developmentKeys } from '../functions/signing-keys.ts';
import { type Claims, openTokens } from '../functions/tokens.ts';
import { loadSettings } from '../functions/vault.ts';

// npm run token -- <username>, or --service: prints an access token and nothing else, so that it can be passed on; what there is to
// tell goes to stderr.

function claimsOf(username: string, settings: Settings): Promise<Claims> {
  return withDatabase(settings, { log: console.error, upToDate: true }, (url) => openDevelopmentSession(url, username));
}

await runScript(async () => {
  const args = process.argv.slice(2);
  const [username] = args;
  if (!username || args.length > 1 || (username.startsWith('-') && username !== '--service')) {
    throw new Refusal('Whose token?', {
      remedy: 'npm run --silent token -- <username>, or --service for a program of yours',
    });
  }
  const settings = await loadSettings(process.env);
  if (!settings.development) {
    throw new Refusal('This is production (PLINTH_ENV): nobody gets a token without signing in.', {
      remedy: 'Sign in through the API: logIn, or requestCode and verifyCode.',
    });
  }
  const tokens = openTokens(settings.jwtKeys ?? developmentKeys(settings));
  const claims: Claims = username === '--service' ? { role: 'service' } : await claimsOf(username, settings);
  console.log(await tokens.sign(claims));
});
process.exit();
