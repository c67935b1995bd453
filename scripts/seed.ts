import { openCallers } from '../functions/callers.ts';
import { withDatabase } from '../functions/database.ts';
import { countKnownNonces } from '../functions/known-nonces.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
import { loadSettings } from '../functions/vault.ts';
import { converse, introduce, type SignedIn, signIn } from './seed/perform.ts';
import { conversations, people, readLines } from './seed/world.ts';

// npm run seed: a small world to look at, in which a dozen people talk in rooms and in direct chats. Done again, it adds nothing.

async function seed(databaseUrl: string, settings: Settings): Promise<string> {
  const nonces = conversations.flatMap(readLines).map(({ nonce }) => nonce);
  if ((await countKnownNonces(databaseUrl, nonces)) === nonces.length) {
    return 'The demonstration world is there already: nothing was added.';
  }
  const began = performance.now();
  const callers = await openCallers(databaseUrl, settings);
  try {
    const everyone = new Map<string, SignedIn>();
    for (const person of people) {
      const signedIn = await signIn(callers, person);
      everyone.set(person.username, signedIn);
      const name = await introduce(signedIn, person);
      if (name !== person.username) console.log(`The name ${person.username} was taken: it is ${name} here.`);
    }
    for (const conversation of conversations) await converse(conversation, everyone);
  } finally {
    await callers.close();
  }
  const rooms = conversations.filter(({ room }) => room).length;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  return `${people.length} people, ${rooms} rooms, ${conversations.length - rooms} direct chats, ${nonces.length} messages in ${seconds} s`;
}

function whatNext({ host, port }: Settings): string {
  const query = '{ myChannels(first: 5) { nodes { name unread lastMessage { text sender { username } } } } }';
  return `What to try next, with the server running (npm start):
  npm run --silent token -- alice
      a token for alice, good for 15 minutes; elena, mei and the others have one, too
  curl http://${host}:${port}/graphql \\
    -H "authorization: Bearer $(npm run --silent token -- alice)" -H 'content-type: application/json' \\
    -d '{"query":"${query}"}'
      her channels, with what she has not read
  http://${host}:${port}/graphql
      GraphiQL in a browser: put {"authorization": "Bearer …"} under Headers`;
}

await runScript(async () => {
  const settings = await loadSettings(process.env);
  if (!settings.development) {
    throw new Refusal('This is production (PLINTH_ENV): a demonstration world has no place in it.');
  }
  const done = await withDatabase(settings, { log: console.log, upToDate: true }, (url) => seed(url, settings));
  console.log(done);
  console.log(whatNext(settings));
});
process.exit();
