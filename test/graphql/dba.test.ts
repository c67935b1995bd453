import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { openWorld, schemaFile } from '../world.ts';

const house = readFileSync(schemaFile, 'utf8');
const polls = readFileSync(path.join(import.meta.dirname, '../fixtures/polls.sql'), 'utf8');

type Described = { name: string; description: string; type?: unknown; args?: { name: string }[] };
const parts = '{ name description args { name } type { name kind ofType { name kind ofType { name } } } }';
const introspection = `query ($type: String!) { __type(name: $type) { description fields ${parts} inputFields { name } } }`;

t.test(
  'D9 a section that a DBA adds to schema.sql is API, whole and documented, without a line of TypeScript',
  async (t) => {
    const { ask, person } = await openWorld(t, { schema: house + polls });
    const [alice, bob, eve] = [await person('alice'), await person('bob'), await person('eve')];
    const fieldsOf = async (type: string): Promise<Map<string, Described>> => {
      const { data } = await ask(introspection, { type });
      return new Map(data.__type.fields.map((field: Described) => [field.name, field]));
    };

    t.test('its tables are types: columns, relations both ways, computed fields, comments', async (t) => {
      t.equal(
        (await ask(introspection, { type: 'Poll' })).data.__type.description,
        'A question put to a channel, with the options to choose from.',
      );
      const poll = await fieldsOf('Poll');
      t.same(
        new Set(poll.keys()),
        new Set([
          'id',
          'channelId',
          'askedBy',
          'question',
          'options',
          'closesAt',
          'closedAt',
          'createdAt',
          'channel',
          'askedByUser',
          'votes',
          'tally',
        ]),
      );
      t.match(poll.get('options'), {
        description: 'The answers to choose from, 2 to 10, in the order shown.',
        type: { kind: 'NON_NULL', ofType: { kind: 'LIST' } },
      });
      t.match(poll.get('closesAt'), { type: { name: 'DateTime' } });
      t.match(poll.get('tally'), { description: 'Votes for each option, in the order of `options`.' });
      t.match((await fieldsOf('Channel')).get('polls'), { type: { ofType: { name: 'PollConnection' } } });
      t.match((await fieldsOf('User')).get('pollsByAskedByUser'), { type: { ofType: { name: 'PollConnection' } } });
      const filter = (await ask(introspection, { type: 'ChannelFilter' })).data.__type.inputFields.map(
        ({ name }: Described) => name,
      );
      t.ok(filter.includes('polls'));
    });

    t.test('its functions are queries and mutations', async (t) => {
      t.match((await fieldsOf('Query')).get('openPolls'), {
        description: 'The polls that one can still vote in, the newest first.',
        type: { ofType: { name: 'PollConnection' } },
      });
      t.match((await fieldsOf('Mutation')).get('vote'), {
        description: 'Chooses an option of an open poll; choosing again replaces the vote.',
        type: { name: 'VotePayload' },
      });
      t.same((await ask(introspection, { type: 'VoteInput' })).data.__type.inputFields, [
        { name: 'pollId' },
        { name: 'option' },
      ]);
    });

    t.test('and they work, under its policies', async (t) => {
      const { id: channelId } = (
        await ask('mutation { createRoom(input: { name: "Lunch" }) { channel { id } } }', {}, alice.token)
      ).data.createRoom.channel;
      await ask(
        'mutation ($input: AddMemberInput!) { addMember(input: $input) { member { joinedAt } } }',
        { input: { channelId, userId: bob.id } },
        alice.token,
      );
      const put =
        'mutation ($input: AskInput!) { ask(input: $input) { poll { id question options tally askedByUser { username } channel { name } } } }';
      const asked = await ask(
        put,
        { input: { channelId, question: 'Where?', options: ['here', 'there'] } },
        alice.token,
      );
      const { id: pollId, ...poll } = asked.data.ask.poll;
      t.same(poll, {
        question: 'Where?',
        options: ['here', 'there'],
        tally: ['0', '0'],
        askedByUser: { username: 'alice' },
        channel: { name: 'Lunch' },
      });

      const vote =
        'mutation ($input: VoteInput!) { vote(input: $input) { poll { tally votes { nodes { option user { username } } } } } }';
      await ask(vote, { input: { pollId, option: 1 } }, alice.token);
      t.same((await ask(vote, { input: { pollId, option: 2 } }, bob.token)).data.vote.poll, {
        tally: ['1', '1'],
        votes: { nodes: [{ option: 2, user: { username: 'bob' } }] },
      });
      t.match(await ask(vote, { input: { pollId, option: 3 } }, bob.token), {
        errors: [
          {
            message: 'There is no such option.',
            extensions: { code: 'BAD_USER_INPUT', argument: 'option', hint: 'Choose from 1 to 2.' },
          },
        ],
      });
      t.match(await ask(put, { input: { channelId, question: 'Alone?', options: ['yes'] } }, alice.token), {
        errors: [
          {
            message: 'There are 2 to 10 options.',
            extensions: { code: 'BAD_USER_INPUT', constraint: 'there_are_2_to_10_options' },
          },
        ],
      });

      const open =
        'query ($id: UUID!) { channel(id: $id) { polls { totalCount } } openPolls(first: 5) { nodes { question } } channels(filter: { polls: { some: {} } }) { nodes { name } } }';
      t.same((await ask(open, { id: channelId }, bob.token)).data, {
        channel: { polls: { totalCount: 1 } },
        openPolls: { nodes: [{ question: 'Where?' }] },
        channels: { nodes: [{ name: 'Lunch' }] },
      });
      t.same((await ask(open, { id: channelId }, eve.token)).data, {
        channel: null,
        openPolls: { nodes: [] },
        channels: { nodes: [] },
      });
      t.match(await ask(vote, { input: { pollId, option: 1 } }, eve.token), {
        errors: [{ extensions: { code: 'NOT_FOUND' } }],
      });
    });
  },
);

t.test('D9 a section that is taken out takes all of it along, and nothing else', async (t) => {
  const types = '{ __schema { types { name fields { name } inputFields { name } } } }';
  type Type = { name: string; fields: Described[] | null; inputFields: Described[] | null };
  const names = async (schema: string): Promise<Set<string>> => {
    const { ask } = await openWorld(t, { schema });
    const all: Type[] = (await ask(types)).data.__schema.types;
    return new Set(
      all.flatMap(({ name, fields, inputFields }) => [
        name,
        ...(fields ?? inputFields ?? []).map((field) => `${name}.${field.name}`),
      ]),
    );
  };
  const [before, after] = [await names(house + polls), await names(house)];
  const gone = [...before].filter((name) => !after.has(name));
  t.same(
    [...after].filter((name) => !before.has(name)),
    [],
    'nothing is there that was not',
  );
  t.same(
    gone.filter((name) => !/poll|vote|ask|tally/i.test(name) && !/^(BigIntFilter|IntFilter)/.test(name)),
    [],
    'nothing else is gone',
  );
  for (const name of [
    'Poll',
    'Vote',
    'PollFilter',
    'Query.poll',
    'Query.polls',
    'Query.openPolls',
    'Mutation.ask',
    'Mutation.vote',
    'Channel.polls',
    'ChannelFilter.polls',
  ]) {
    t.ok(gone.includes(name), `${name} is gone`);
  }
  t.same(
    [...after].filter((name) => /\bpolls?\b|vote|polls?(Filter|Order|Connection)/i.test(name)),
    [],
  );
});
