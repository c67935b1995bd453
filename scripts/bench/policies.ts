import type { Ground, Report, Viewer } from './ground.ts';
import { rounded } from './rounds.ts';

/** The forms that the policy on messages could have; the first is the one of schema.sql. */
const forms: Record<string, string> = {
  'exists over a view':
    'exists (select from chat._readable as readable where readable.channel_id = messages.channel_id offset 0)',
  'exists, as a hash':
    'exists (select from chat._readable as readable where readable.channel_id = messages.channel_id)',
  'a function for each row': 'chat.can_read(channel_id)',
  'a set made once': 'channel_id = any (array(select readable.channel_id from chat._readable as readable))',
  'no policy': 'true',
};

const present = 'exists over a view';

const page = 'select id, text, sender_id from chat.messages where channel_id = $1 order by id desc limit 20';
const statements: Record<string, string> = {
  'a page of 20': page,
  'a list of 5,000': page.replace('limit 20', 'limit 5000'),
  'a count over 5,000 of all channels':
    'select count(*) from (select channel_id from chat.messages order by id desc limit 5000) as m where $1 is not null',
};

// The same whatever the policy is: the search says itself what may be read.
const searches: Record<string, string> = {
  'a search in all channels': "select id from chat.search_messages('kernel') where $1 is not null",
  'a search in one channel': "select id from chat.search_messages('kernel', $1)",
};

/**
 * What the policy on messages costs in each form, and a search: milliseconds of the statement alone, for a member, the fastest of
 * many; first with the rooms that there are, then beside many more public ones.
 */
export async function benchPolicies(ground: Ground, viewer: Viewer, report: Report) {
  const few = await benchForms(ground, viewer, report);
  await ground.owner.query(
    "insert into chat.channels (kind, name, is_public) select 'room', 'Public ' || n, true from generate_series(1, 10000) as n",
  );
  await ground.owner.query('vacuum analyze');
  const many = await benchForms(ground, viewer, report);
  return [...few, ...many.map((row) => ({ ...row, name: `${row.name}, beside 10,000 public rooms` }))];
}

async function benchForms({ owner }: Ground, viewer: Viewer, report: Report) {
  const policy = 'members_see_messages_of_what_they_may_read on chat.messages';
  await owner.query('grant execute on function chat.can_read to member');
  // As on the server: one plan, whatever the values.
  await owner.query('set plan_cache_mode = force_generic_plan');
  const times = new Map<string, number>();
  // In rounds, so that whatever else the machine does meets every form.
  for (let round = 0; round < 5; round += 1) {
    for (const [form, condition] of Object.entries(forms)) {
      report(`round ${round + 1}: ${form}`);
      await owner.query(`alter policy ${policy} using (${condition})`);
      await owner.query("select set_config('plinth.user_id', $1, false)", [viewer.userId]);
      await owner.query('set role member');
      const asked = form === present ? { ...statements, ...searches } : statements;
      for (const [name, text] of Object.entries(asked)) {
        const key = `${name}: ${form}`;
        const took = await fastest(() =>
          owner.query({ name: `${key} ${round}`, text: text.replaceAll('$1', '$1::uuid'), values: [viewer.rooms[0]] }),
        );
        times.set(key, Math.min(times.get(key) ?? Number.POSITIVE_INFINITY, took));
      }
      await owner.query('reset role');
    }
  }
  const named = [...Object.keys(statements), ...Object.keys(searches)];
  return named.flatMap((name) =>
    (name in searches ? [present] : Object.keys(forms)).map((form) => {
      const ms = times.get(`${name}: ${form}`) ?? Number.NaN;
      const ratioToPresent = ms / (times.get(`${name}: ${present}`) ?? Number.NaN);
      return { name, form, ms: rounded(ms), ratioToPresent: rounded(ratioToPresent) };
    }),
  );
}

async function fastest(run: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 30; n += 1) {
    const began = performance.now();
    await run();
    least = Math.min(least, performance.now() - began);
  }
  return least;
}
