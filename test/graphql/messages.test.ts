import t from 'tap';
import { openWorld } from '../world.ts';

t.test('T3 C2 two people talk in one direct chat, whoever opens it', async (t) => {
  const { ask, person } = await openWorld(t);
  const [alice, bob] = [await person('alice'), await person('bob')];
  const open =
    'mutation ($userId: UUID!) { openDirect(input: { userId: $userId }) { channel { id otherUser { username } } } }';
  const byAlice = await ask(open, { userId: bob.id }, alice.token);
  const byBob = await ask(open, { userId: alice.id }, bob.token);
  t.same(byAlice.data.openDirect.channel.otherUser, { username: 'bob' });
  t.same(byBob.data.openDirect.channel.otherUser, { username: 'alice' });
  t.equal(byAlice.data.openDirect.channel.id, byBob.data.openDirect.channel.id);
});
