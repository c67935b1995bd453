import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { openWorld } from '../world.ts';

t.setTimeout(180_000);
const world = await openWorld(t);
const { ask, owner, person } = world;
const service = await world.service();
const alice = await person('alice');
const room = (await ask('mutation { createRoom(input: { name: "room" }) { channel { id } } }', {}, alice.token)).data
  .createRoom.channel.id;

/** Someone who writes to a table that messages refer to, and everybody else with them, and takes their time. */
async function longWriter() {
  const client = await owner.connect();
  await client.query('begin; lock table chat.channels in row exclusive mode');
  return async () => {
    await client.query('commit');
    client.release();
  };
}

t.test('C16 a month that is made while someone writes for long keeps nobody else waiting', async (t) => {
  const quick = 1500;
  const send = async () => {
    const query = `mutation { sendMessage(input: { channelId: "${room}", text: "hello" }) { message { seq } } }`;
    t.equal((await ask(query, {}, alice.token)).errors, undefined);
  };
  // The first of all takes longer.
  await send();
  const end = await longWriter();
  const making = owner.query("select chat._ensure_partition('2030-01-15') as made");
  await delay(200);
  const times: number[] = [];
  // Few: the making is given up after 7 s.
  while (times.length < 2 && !times.some((time) => time < quick)) {
    const began = performance.now();
    await send();
    times.push(performance.now() - began);
  }
  // Whoever waited for the writer would wait each time, and for as long as it writes.
  t.ok(Math.min(...times) < quick, `sending took ${times.map((time) => time.toFixed()).join(', ')} ms`);
  await end();
  t.strictSame((await making).rows, [{ made: true }], 'it is made once the way is free');
});

t.test('C16 who writes for too long is told about, not waited for', async (t) => {
  const end = await longWriter();
  try {
    const making = owner.query("select chat._ensure_partition('2030-02-15')");
    await t.rejects(making, { code: '55P03', message: /in use for too long/, hint: /pg_stat_activity/ });
  } finally {
    await end();
  }
});

t.test('imports into months that are not there yet do not meet', async (t) => {
  for (let round = 0; round < 3; round += 1) {
    const answers = await Promise.all(
      ['red', 'green', 'blue', 'white'].map((name) => {
        const batch = Array.from({ length: 120 }, (_, n) => ({
          line: n,
          room_id: `${name} ${round} ${n % 3}`,
          room: name,
          sent_at: new Date(Date.UTC(2010 + round, n % 12, 1 + (n % 28))).toISOString(),
          user_id: `${name} ${round} ${n % 7}`,
          username: `${name}-${round}-${n % 7}`,
          message_id: `${name} ${round} ${n}`,
          text: 'hello',
        }));
        return ask(
          'mutation ($batch: JSON!) { importMessages(input: { source: "test", batch: $batch }) { importResult { added rejected } } }',
          { batch },
          service,
        );
      }),
    );
    for (const { data, errors } of answers) {
      t.equal(errors, undefined);
      t.strictSame(data.importMessages?.importResult, { added: 120, rejected: [] });
    }
  }
});
