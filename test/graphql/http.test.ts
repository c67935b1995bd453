import { serverAudits } from 'graphql-http';
import t from 'tap';
import { openWorld } from '../world.ts';

t.test('D9 every audit of GraphQL over HTTP passes, whether it says MUST, SHOULD or MAY', async (t) => {
  const { server } = await openWorld(t);
  const audits = serverAudits({ url: `${server.url}graphql` });
  t.equal(audits.length, 61, 'the whole of the suite is run');
  for (const audit of audits) {
    const result = await audit.fn();
    t.equal(result.status, 'ok', `${audit.id} ${audit.name}${result.status === 'ok' ? '' : `: ${result.reason}`}`);
  }
});
