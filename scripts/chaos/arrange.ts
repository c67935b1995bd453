import { ask } from './ask.ts';
import { countsOfTopics, makePeople, type Person, withOwner } from './database.ts';

export type Arranged = {
  authors: Person[];
  readers: Person[];
  channels: string[];
  /** The cursor to follow from, and what each topic had counted there. */
  after: string;
  counts: Map<string, number>;
};

/** Makes people, and rooms that all of them are in. */
export async function arrange({
  url,
  sign,
  server,
  writers,
  rooms,
}: {
  url: string;
  sign(claims: Person['claims']): Promise<string>;
  server: string;
  writers: number;
  rooms: number;
}): Promise<Arranged> {
  const names = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind}_${index + 1}`);
  const people = await withOwner(url, async (owner) => {
    // These write more than people do.
    await owner.query('update access.rate_limits set count = 1000000000');
    return makePeople(owner, [...names('writer', writers), ...names('reader', rooms)]);
  });
  const tokens = await Promise.all(people.map(({ claims }) => sign(claims)));
  const [first = ''] = tokens;
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of each document
  const succeed = async (query: string, variables: object, token: string): Promise<any> => {
    const { data, errors } = await ask(server, query, variables, token, 10_000);
    if (errors) throw new Error(`${query}: ${errors[0]?.message}`);
    return data;
  };
  const channels: string[] = [];
  for (let index = 1; index <= rooms; index += 1) {
    const make =
      'mutation Make($name: String!) { createRoom(input: {name: $name, isPublic: true}) { channel { id } } }';
    const { createRoom } = await succeed(make, { name: `Room ${index}` }, first);
    channels.push(createRoom.channel.id);
    const join = 'mutation Join($id: UUID!) { joinRoom(input: {channelId: $id}) { __typename } }';
    for (const token of tokens.slice(1)) await succeed(join, { id: createRoom.channel.id }, token);
  }
  const { cursor: after } = await succeed('{ cursor }', {}, first);
  const counts = await withOwner(url, countsOfTopics);
  return { authors: people.slice(0, writers), readers: people.slice(writers), channels, after, counts };
}
