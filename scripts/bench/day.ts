import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { broken, type Figure } from './day/figures.ts';
import type { Begun, Measured, Order, Proof } from './day/people.ts';
import { type Ground, populate, type Report, runFile, withoutIndexes } from './ground.ts';
import { rounded } from './rounds.ts';
import { startSystems } from './systems.ts';

type Row = Record<string, string | number>;

/** Seconds in which a step's people come, settle, and are measured; by how many each step is more. */
const thorough = { towns: 8, first: 500, more: 500, raise: 15, settle: 10, measure: 45 };
const brief = { towns: 1, first: 300, more: 300, raise: 5, settle: 1, measure: 8, most: 600 };

/**
 * A day of a messenger: how many active users one server and its database carry on the cores that there are, clients included. People come
 * in steps, until a bound is broken; what they do, how often, and at which pace, day/model.ts says, and where that is from. Their requests
 * are HTTP, their events come over a WebSocket each, which breaks now and then and goes on from its cursor. In the end what each was sent
 * is compared with the database, message by message, and what everyone is told is unread with a count of the messages.
 */
export async function benchDay(
  ground: Ground,
  gitter: string | undefined,
  quick: boolean,
  report: Report,
): Promise<Row[]> {
  const size = quick ? brief : { ...thorough, most: Number.POSITIVE_INFINITY };
  const viewer = await populate(ground, gitter, report);
  report(`Making ${size.towns} town${size.towns === 1 ? '' : 's'} of people, rooms and direct chats`);
  await ground.owner.query("select set_config('bench.towns', $1, false)", [size.towns]);
  await withoutIndexes(ground.owner, ['chat.messages_searched_idx', 'chat.messages_of_files_searched_idx'], () =>
    runFile(ground.owner, 'day.sql'),
  );
  await ground.owner.query('vacuum analyze');
  Object.assign(process.env, { MAX_CONNECTIONS: '100000', MAX_CONNECTIONS_PER_ADDRESS: '100000' });
  const bench = await startSystems(ground, viewer, [], ['plinth']);
  const child = fork(path.join(import.meta.dirname, 'day', 'people.ts'));
  try {
    const [plinth] = bench.systems;
    const { people } = await ask<Begun>(child, {
      begin: { port: plinth?.port as number, url: ground.url, key: bench.key },
    });
    report(`${people} people`);
    const steps: Row[] = [];
    let held: Measured | undefined;
    for (let users = size.first; users <= Math.min(size.most, people); users += size.more) {
      report(`${users} active users`);
      await ask(child, { raise: { to: users, seconds: size.raise } });
      await ask(child, { measure: { seconds: size.settle } });
      const before = cpuOf(plinth?.pid as number, child.pid as number);
      const measured = await ask<Measured>(child, { measure: { seconds: size.measure } });
      const after = cpuOf(plinth?.pid as number, child.pid as number);
      const { row, wrong } = judgeStep(users, measured);
      const busy = (place: 0 | 1) => rounded((after[place] - before[place]) / size.measure);
      steps.push({ ...row, serverCores: busy(0), clientCores: busy(1) });
      // A long run that breaks off has told what it measured.
      report(JSON.stringify({ ...steps.at(-1), ...(wrong.length > 0 && { wrong, reasons: measured.reasons }) }));
      if (wrong.length > 0) break;
      held = measured;
    }
    report('Comparing with the database');
    const proof = await ask<Proof>(child, { end: true });
    return [...steps, ...(held ? actionsOf(held) : []), ...proofOf(proof, report)];
  } finally {
    if (child.connected) child.disconnect();
    await bench.close();
  }
}

/** All requests together, and how late events come. */
function judgeStep(users: number, { figures, late }: Measured): { row: Row; wrong: string[] } {
  const requests = figures.find(({ name }) => name === 'all requests') as Figure;
  const events = figures.find(({ name }) => name === 'event');
  const wrong = [requests, ...(events ? [events] : [])].flatMap(broken);
  const row = {
    ...{ name: `${users} active users`, held: wrong.length === 0 ? 'yes' : 'no' },
    ...figureOf(requests),
    ...{ events: events?.rate ?? 0, eventMean: events?.mean ?? 0, eventP99: events?.p99 ?? 0 },
    clientLateP99: rounded(late),
  };
  return { row, wrong };
}

function actionsOf({ figures }: Measured): Row[] {
  return figures.map((figure) => ({ name: figure.name, ...figureOf(figure) }));
}

const figureOf = ({ rate, count, mean, p95, p99, failed }: Figure) => ({ rate, count, mean, p95, p99, failed });

/** What is wrong fails the bench, when its figures are told. */
function proofOf({ sent, delivered, unread, wrong }: Proof, report: Report): Row[] {
  for (const what of wrong.slice(0, 50)) report(what);
  if (wrong.length > 0) process.exitCode = 1;
  return [
    { name: 'messages sent', count: sent.acknowledged, lost: sent.lost, twice: sent.twice },
    (({ count, ...rest }) => ({ name: 'messages delivered', count, ...rest }))(delivered),
    (({ checked, ...rest }) => ({ name: 'unread of channels', count: checked, ...rest }))(unread),
    { name: wrong.length === 0 ? 'nothing was lost' : 'things that are wrong', count: wrong.length },
  ];
}

/** Seconds of a core that each of these processes has taken. */
function cpuOf(...pids: [number, number]): [number, number] {
  return pids.map((pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }) as [number, number];
}

function ask<Answer>(child: ChildProcess, order: Order): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new Error('The people went away while they were measured.'));
    child.once('exit', gone);
    child.once('message', (answer: Answer) => {
      child.off('exit', gone);
      resolve(answer);
    });
    child.send(order);
  });
}
