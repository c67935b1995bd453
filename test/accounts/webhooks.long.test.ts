import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { isPublic, publicLookup } from '../../workers/public-address.ts';
import { deliverWebhookTask } from '../../workers/webhook.ts';
import { openJobsWorld } from '../workers/jobs-world.ts';
import type { Person } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

const world = await openJobsWorld(t);
const { ask, ended, person, sql } = world;
const { act, join, room, say } = actsIn(world);
type Taken = { headers: Record<string, string>; body: string };

/** An address that takes what is sent, and answers what it is told to: each of `next`, and after that `status`. */
async function openAddress(): Promise<{
  url: string;
  taken: Taken[];
  answer: { status: number; next: number[] };
  until(n: number): Promise<void>;
}> {
  const taken: Taken[] = [];
  const answer = { status: 200, next: [] as number[] };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    taken.push({ headers: request.headers as Record<string, string>, body });
    response.writeHead(answer.next.shift() ?? answer.status, { location: 'http://127.0.0.1:1/' }).end('x'.repeat(1000));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    taken,
    answer,
    async until(n) {
      for (let waited = 0; taken.length < n; waited += 20) {
        if (waited > 30_000) throw new Error(`${taken.length} of ${n} have come`);
        await wait(20);
      }
    },
  };
}
const create = (by: Person | undefined, channelId: string, url: string, types?: string[]) =>
  act(by, 'createWebhook', { channelId, url, ...(types && { types }) }, 'newWebhook { id secret }');
const remove = (by: Person, id: string) =>
  ask('mutation ($id: UUID!) { removeWebhook(input: { id: $id }) { ok } }', { id }, by.token);
const runsOf = (webhook: string) =>
  sql("select * from jobs.runs where task = 'deliver_webhook' and payload ->> 'webhook' = $1 order by created_at", [
    webhook,
  ]);

t.test('a public address is told from all others', async (t) => {
  for (const address of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '2606:4700::1111', '[2a00:1450::1]'])
    t.ok(isPublic(address), address);
  for (const address of [
    ...[
      '127.0.0.1',
      '10.1.2.3',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '169.254.169.254',
      '100.64.0.1',
      '0.0.0.0',
    ],
    ...[
      '224.0.0.1',
      '255.255.255.255',
      '192.0.2.1',
      '198.18.0.1',
      '::1',
      '::',
      '[::1]',
      'fe80::1',
      'fc00::1',
      'fd12::1',
      'ff02::1',
    ],
    ...[
      '::ffff:127.0.0.1',
      '::ffff:8.8.8.8',
      '64:ff9b::7f00:1',
      '2002:7f00:1::',
      '2001::1',
      '2001:db8::1',
      'localhost',
      '',
    ],
  ])
    t.notOk(isPublic(address), address);
  const found = await new Promise((resolve) =>
    publicLookup('localhost', { all: true }, (error) => resolve(error?.message)),
  );
  t.equal(found, 'localhost is not at a public address');
});

t.test('events of a channel are sent, signed, with the message as it is', async (t) => {
  await world.work([deliverWebhookTask], { WEBHOOKS_PRIVATE: 'true' });
  const address = await openAddress();
  const [ann, bob] = [await person('ann'), await person('bob')];
  const place = await room(ann);
  await join(bob, place);
  const made = (await create(ann, place, address.url, ['message_sent'])).data.createWebhook.newWebhook;
  await say(bob, place, 'over to you');
  await act(bob, 'markRead', { channelId: place }, 'channel { id }');
  await act(ann, 'setRetention', { channelId: place, days: 5 }, 'channel { id }');
  await say(bob, place, 'and again');
  await address.until(2);
  const bodies = address.taken.map(({ body }) => JSON.parse(body));
  t.strictSame(
    bodies.map(({ type }) => type),
    ['message_sent', 'message_sent'],
    'only the types that were asked for',
  );
  t.strictSame(bodies.map(({ message }) => message.text).sort(), ['and again', 'over to you']);
  t.equal(bodies[0].channel_id, place);
  const { headers, body } = address.taken[0] as Taken;
  const key = Buffer.from(made.secret.replace('whsec_', ''), 'base64');
  const signed = createHmac('sha256', key).update(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
  t.equal(headers['webhook-signature'], `v1,${signed.digest('base64')}`);
  t.ok(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000) < 60);
  for (const run of await runsOf(made.id)) t.equal((await ended(run.id)).state, 'succeeded');
  const { data } = await ask(
    '{ webhooks { nodes { url failures deliveredAt } } runs { nodes { id } } }',
    {},
    ann.token,
  );
  t.ok(data.webhooks.nodes[0].deliveredAt);
  t.strictSame(
    (await ask('{ webhooks { nodes { id } } runs { nodes { id } } }', {}, bob.token)).data,
    {
      webhooks: { nodes: [] },
      runs: { nodes: [] },
    },
    'who wrote the message sees nothing of it',
  );

  t.notOk((await remove(ann, made.id)).errors);
  await say(bob, place, 'to nobody');
  t.equal((await runsOf(made.id)).length, 2);
});

t.test('what is not taken is tried again, and given up when the address is gone', async (t) => {
  await sql("update jobs.queues set retry_delay = '1 second' where name = 'webhooks'");
  const address = await openAddress();
  const cal = await person('cal');
  const place = await room(cal);
  const { id } = (await create(cal, place, address.url)).data.createWebhook.newWebhook;
  address.answer.next = [302, 200];
  await say(cal, place, 'first');
  await address.until(2);
  const [run] = await runsOf(id);
  const after = await ended(run?.id);
  t.match(after, { state: 'succeeded', attempt: 2 }, 'a redirect is not followed, and is no success');
  t.match((await sql('select failures, disabled_at from webhooks.webhooks where id = $1', [id]))[0], {
    failures: 0,
    disabled_at: null,
  });
  const [first, second] = address.taken;
  t.equal(second?.headers['webhook-id'], first?.headers['webhook-id'], 'by the id the address knows it is the same');

  address.answer.status = 410;
  await say(cal, place, 'second');
  await address.until(3);
  await ended((await runsOf(id)).at(-1)?.id);
  t.ok((await sql('select disabled_at from webhooks.webhooks where id = $1', [id]))[0]?.disabled_at);
  const told = await sql("select from events.log where topic = 'user:' || $1 and type = 'webhook_disabled'", [cal.id]);
  t.equal(told.length, 1, 'its owner is told');
  await say(cal, place, 'third');
  t.equal((await runsOf(id)).length, 2, 'nothing more is sent');
});

t.test('what is never taken is a dead letter, and can be sent once more', async (t) => {
  await sql("update jobs.queues set retries = 0 where name = 'webhooks'");
  const address = await openAddress();
  const kim = await person('kim');
  const place = await room(kim);
  const { id } = (await create(kim, place, address.url)).data.createWebhook.newWebhook;
  address.answer.status = 500;
  await say(kim, place, 'unheard');
  const [run] = await runsOf(id);
  t.match(await ended(run?.id), { state: 'failed', error: /answered 500/ });
  const letters = async () =>
    sql("select data from pgboss.job where name = 'lost_webhooks' and data ->> 'webhook' = $1", [id]);
  for (let waited = 0; (await letters()).length === 0 && waited < 20_000; waited += 50) await wait(50);
  t.equal((await letters()).length, 1);
  address.answer.status = 200;
  await sql("select jobs.redrive('webhooks')");
  t.equal((await ended(run?.id, ['succeeded'])).state, 'succeeded');
  await sql("update jobs.queues set retries = 12 where name = 'webhooks'");
});

t.test('fifty failures in a row are enough', async (t) => {
  const dee = await person('dee');
  const { id } = (await create(dee, await room(dee), 'https://plinth.test/')).data.createWebhook.newWebhook;
  for (let tries = 1; tries <= 50; tries += 1) {
    const [{ disabled_at: before }] = (await sql('select disabled_at from webhooks.webhooks where id = $1', [id])) as [
      { disabled_at: Date | null },
    ];
    if (before) t.fail(`it was given up before try ${tries}`);
    await sql('select webhooks._note($1, false, false)', [id]);
  }
  t.ok((await sql('select disabled_at from webhooks.webhooks where id = $1', [id]))[0]?.disabled_at);
});

t.test('nothing is sent to who may read no longer', async (t) => {
  const address = await openAddress();
  const [eve, fay] = [await person('eve'), await person('fay')];
  const place = await room(eve);
  await join(fay, place);
  const { id } = (await create(fay, place, address.url)).data.createWebhook.newWebhook;
  t.equal(
    (await ask('{ webhooks { nodes { id } } }', {}, eve.token)).data.webhooks.nodes.length,
    1,
    'the room’s owner sees it',
  );
  await sql("select jobs.pause('deliver_webhook')");
  await say(eve, place, 'while fay was there');
  t.equal((await runsOf(id)).length > 0, true);
  await act(eve, 'removeMember', { channelId: place, userId: fay.id }, 'ok');
  const asked = (await runsOf(id)).length;
  await say(eve, place, 'among ourselves');
  t.equal((await runsOf(id)).length, asked, 'nothing is asked for any longer');
  await sql("select jobs.resume('deliver_webhook')");
  for (const run of await runsOf(id)) t.match((await ended(run.id)).result, { skipped: true });
  t.equal(address.taken.length, 0);
  t.notOk((await remove(eve, id)).errors, 'and ends it');
});

t.test('addresses of the inside are refused where they are not allowed', async (t) => {
  const address = await openAddress();
  const port = new URL(address.url).port;
  const gus = await person('gus');
  const place = await room(gus);
  const event = { id: '01a1fe74-6591-7639-89a3-ede7d351c8c4', type: 'message_sent', data: {} };
  const work = {
    databaseUrl: world.databaseUrl,
    settings: { webhooksPrivate: false },
    signal: new AbortController().signal,
  };
  for (const url of [
    `https://127.0.0.1:${port}/`,
    `https://localhost:${port}/`,
    `https://[::1]:${port}/`,
    `https://[::ffff:127.0.0.1]:${port}/`,
    `https://2130706433:${port}/`,
    `https://0x7f.1:${port}/`,
    'https://169.254.169.254/latest/meta-data',
    `http://plinth.test:${port}/`,
  ]) {
    const { id } = (await create(gus, place, url)).data.createWebhook.newWebhook;
    await t.rejects(
      deliverWebhookTask.run({ webhook: id, event }, work as Parameters<typeof deliverWebhookTask.run>[1]),
      /public address|not https/,
      url,
    );
    await remove(gus, id);
  }
  t.equal(address.taken.length, 0);
});

t.test('who is not in a channel makes none there, and there are few', async (t) => {
  const [hal, ida] = [await person('hal'), await person('ida')];
  const [open, hidden] = [await room(hal), await room(hal, 'hidden', false)];
  const url = 'https://plinth.test/hook';
  t.equal(codeOf(await create(undefined, open, url)), 'FORBIDDEN');
  t.equal(codeOf(await create(ida, open, url)), 'FORBIDDEN');
  t.equal(codeOf(await create(ida, hidden, url)), 'NOT_FOUND');
  for (const wrong of [
    '',
    'plinth.test',
    'ftp://plinth.test',
    'file:///etc/passwd',
    'https://a@plinth.test',
    'https://a b',
    `https://a.test/${'x'.repeat(2000)}`,
  ])
    t.equal(codeOf(await create(hal, open, wrong)), 'BAD_USER_INPUT', wrong.slice(0, 20));
  t.equal(codeOf(await create(hal, open, url, ['Not A Type'])), 'BAD_USER_INPUT');
  t.equal(codeOf(await create(hal, open, url, Array(21).fill('a'))), 'BAD_USER_INPUT');
  const crowd = [hal, await person('hal-2'), await person('hal-3'), await person('hal-4')];
  for (const each of crowd.slice(1)) await join(each, open);
  const own = await Promise.all(Array.from({ length: 5 }, () => create(hal, open, url)));
  t.equal(own.filter((answer) => !answer.errors).length, 3, 'three of one person, of five at once');
  const others = await Promise.all(crowd.flatMap((each) => Array.from({ length: 3 }, () => create(each, open, url))));
  const many = [...own, ...others];
  t.equal(many.filter((answer) => !answer.errors).length, 10, 'ten of all');
  t.ok(many.every((answer) => [undefined, 'CONFLICT'].includes(codeOf(answer))));
  const made = many.find((answer) => !answer.errors)?.data.createWebhook.newWebhook;
  t.equal(codeOf(await remove(ida, made.id)), 'NOT_FOUND');
  const stored = await ask('{ webhooks { nodes { id url } } }', {}, hal.token);
  t.notMatch(JSON.stringify(stored), /whsec/, 'the secret was shown once');
});
