import type { Ground, Report } from './ground.ts';
import { runFile, withoutIndexes } from './ground.ts';
import { rounded } from './rounds.ts';

/** Words of search.sql, by their places in its list: how often they are said follows from it. */
const questions: Record<string, number[]> = {
  'a word of 40 % of messages': [2],
  'a word of 7 %': [10],
  'a word of 0.7 %': [100],
  'a word of 0.07 %': [1000],
  'a rare word': [15000],
  'two words, 7 % and 0.7 %': [10, 100],
  'three words that no message has together': [10, 100, 1000],
  'five words that no message has together': [2, 3, 10, 100, 1000],
};

/** What a search can be narrowed by, as SQL that gives its arguments; what has a file is every fiftieth message. */
const filters: Record<string, string> = {
  'of one author': "select format('author_id => %L', id) as arguments from identity.users where username = 'user7'",
  'of a month half a year ago':
    "select 'since => now() - interval ''6 months'', until => now() - interval ''5 months''' as arguments",
  'with a file': "select 'has_file => true' as arguments",
  'of one author, with a file':
    "select format('author_id => %L, has_file => true', id) as arguments from identity.users where username = 'user7'",
  'in a thread of 500':
    "select format('thread_id => %L', reply_to_id) as arguments from chat.messages where reply_to_id is not null limit 1",
};

/** Who asks: someone in a few small rooms, in 150 rooms, in all of them. */
const callers: Record<string, string> = {
  'in 10 small rooms': "name > 'Room 0990'",
  'in 150 rooms': "name < 'Room 0150'",
  'in all rooms': 'true',
};

/**
 * What the first page of a search takes, in milliseconds of the statement alone, as a member: the median and the most of many, by how
 * frequent the word is and how much the caller may read.
 */
export async function benchSearch({ owner }: Ground, quick: boolean, report: Report) {
  const size = quick ? 100_000 : 10_000_000;
  await owner.query("select set_config('bench.size', $1, false)", [size]);
  report(`Making ${size.toLocaleString('en')} messages, and the index of their words`);
  const setAside = ['searched', 'of_files_searched', 'sender_id_id'].map((name) => `chat.messages_${name}_idx`);
  await withoutIndexes(owner, setAside, () => runFile(owner, 'search.sql'));
  await owner.query('vacuum analyze');
  const rows = [];
  for (const [who, rooms] of Object.entries(callers)) {
    const { rows: made } = await owner.query(
      `with made as (insert into identity.users (username, display_name) values ($1, $1) returning id),
      joined as (insert into chat.members (channel_id, user_id) select channels.id, made.id from chat.channels, made where ${rooms})
      select id, (select channels.id from chat.channels where ${rooms} order by name limit 1) as room from made`,
      [who.replaceAll(' ', '_')],
    );
    await owner.query("select set_config('plinth.user_id', $1, false)", [made[0].id]);
    for (const [what, places] of Object.entries(questions)) {
      const text = "select string_agg(word, ' ') as said from words where n = any ($1)";
      const { rows: known } = await owner.query(text, [places]);
      for (const [where, channel] of Object.entries({ everywhere: null, 'in one room': made[0].room })) {
        report(`${who}: ${what}, ${where}`);
        rows.push({ name: `${what}, ${where}`, who, ...(await measure(owner, [known[0].said, channel])) });
      }
    }
    for (const what of ['a word of 7 %', 'a word of 0.07 %']) {
      const { rows: known } = await owner.query('select word from words where n = any ($1)', [questions[what]]);
      for (const [by, filter] of Object.entries(filters)) {
        report(`${who}: ${what}, ${by}`);
        const { rows: given } = await owner.query(filter);
        rows.push({ name: `${what}, ${by}`, who, ...(await measure(owner, [known[0].word], given[0].arguments)) });
      }
    }
    for (const [what, text] of Object.entries({
      'a part of a word': "select 'ecbb' as said",
      'two words, the last of them begun':
        "select one.word || ' ' || left(other.word, 6) as said from words as one, words as other where (one.n, other.n) = (10, 100)",
      'what is nowhere': "select 'zzqqxx' as said",
    })) {
      const { rows: known } = await owner.query(text);
      rows.push({ name: `${what}, everywhere`, who, ...(await measure(owner, [known[0].said, null])) });
    }
  }
  return rows;
}

async function measure(owner: Ground['owner'], values: (string | null)[], filter = 'channel_id => $2') {
  const text = `select message.id, chat.highlight(message, $1)
    from (select * from chat.search_messages($1, ${filter}) as found limit 20) as message`;
  const times: number[] = [];
  let found = 0;
  await owner.query('set role member');
  for (let n = 0; n < 9; n += 1) {
    const began = performance.now();
    found = (await owner.query(text, values)).rowCount ?? 0;
    times.push(performance.now() - began);
  }
  await owner.query('reset role');
  const sorted = times.toSorted((one, other) => one - other);
  return { found, median: rounded(sorted[4] ?? Number.NaN), most: rounded(sorted.at(-1) ?? Number.NaN) };
}
