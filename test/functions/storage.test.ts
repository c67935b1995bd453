import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { startFauxqs } from 'fauxqs';
import t, { type Test } from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { openStorage, type Storage } from '../../functions/storage.ts';
import { temporaryFolder } from '../running-plinth.ts';

const fauxqs = await startFauxqs({ port: 0, logger: false });
t.teardown(() => fauxqs.stop());
fauxqs.createBucket('keep');
const s3 = (endpoint: string, where = 's3://keep/some/where'): Storage =>
  openStorage(where, readSettings({ S3_ENDPOINT: endpoint, S3_KEY: 'key', S3_SECRET: 'secret' }));

const kinds: Record<string, (t: Test) => Storage> = {
  'a folder': (t) => openStorage(path.join(temporaryFolder(t), 'not', 'there yet'), readSettings({})),
  'a bucket of S3': () => s3(fauxqs.address),
};

async function read(stream: Readable): Promise<{ bytes: number; hash: string; text: string }> {
  const hash = createHash('sha256');
  let [bytes, text] = [0, ''];
  for await (const chunk of stream) {
    hash.update(chunk);
    bytes += chunk.length;
    if (bytes < 1000) text += chunk;
  }
  return { bytes, hash: hash.digest('hex'), text };
}

/** Chunks of every size up to some megabytes. */
function large(): { chunks: Buffer[]; bytes: number; hash: string } {
  const chunks = Array.from({ length: 40 }, (_, index) => randomBytes(1 + index * 25_013));
  const all = Buffer.concat(chunks);
  return { chunks, bytes: all.length, hash: createHash('sha256').update(all).digest('hex') };
}

async function* of(...chunks: (Buffer | string | Error)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    if (chunk instanceof Error) throw chunk;
    yield Buffer.from(chunk);
  }
}

for (const [kind, open] of Object.entries(kinds)) {
  t.test(`F10 ${kind} gives back what was put there, whatever its size, and lists it with its size`, async (t) => {
    const storage = open(t);
    const { chunks, bytes, hash } = large();
    t.equal(await storage.put('one/large', of(...chunks)), bytes);
    t.equal(await storage.put('one/small', of('a', 'bc')), 3);
    t.equal(await storage.put('two/empty', of()), 0);
    const back = await read(await storage.get('one/large'));
    t.strictSame([back.bytes, back.hash], [bytes, hash]);
    t.equal((await read(await storage.get('one/small'))).text, 'abc');
    t.equal((await read(await storage.get('two/empty'))).bytes, 0);
    const listed = await storage.list('one/');
    t.strictSame(
      listed.map(({ name, bytes }) => [name, bytes]),
      [
        ['one/large', bytes],
        ['one/small', 3],
      ],
    );
    await storage.put('one/small', of('again'));
    t.equal((await read(await storage.get('one/small'))).text, 'again', 'what is there is replaced');
    for (const { name } of await storage.list('')) await storage.remove(name);
    t.strictSame(await storage.list(''), []);
  });

  t.test(`F10 ${kind} keeps nothing of what fails while it is written, and says what it has not`, async (t) => {
    const storage = open(t);
    const { chunks } = large();
    await t.rejects(storage.put('cut', of(...chunks, new Error('the disk is gone'))), { message: 'the disk is gone' });
    const stop = new AbortController();
    const stopped = storage.put(
      'stopped',
      (async function* () {
        yield* of(...chunks);
        stop.abort();
        yield* of(...chunks);
      })(),
      stop.signal,
    );
    await t.rejects(stopped, { name: 'AbortError' });
    t.strictSame(await storage.list(''), []);
    await t.rejects(storage.get('cut'), { name: 'NotStored', message: /^cut is not in / });
    await storage.remove('cut');
    for (const name of ['', '../up', 'a//b', '/etc/passwd', 'a/..'])
      await t.rejects(storage.put(name, of('x')), { message: /is not a name/ });
  });
}

t.test('F10 S3 is asked again where it fails for a moment, and what it refuses is told with what to do', async (t) => {
  let failures = 2;
  const flaky = createServer((request, response) => {
    failures -= 1;
    if (failures === 1) return void request.socket.destroy();
    if (failures === 0) return void response.writeHead(503).end();
    response.writeHead(200).end('<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>');
  });
  await once(flaky.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => flaky.close());
  const { port } = flaky.address() as AddressInfo;
  t.strictSame(await s3(`http://127.0.0.1:${port}`).list(''), []);
  t.equal(failures, -1);
  await t.rejects(s3(fauxqs.address, 's3://nowhere').put('x', of('x')), {
    name: 'Refusal',
    message: 's3://nowhere does not exist.',
    remedy: 'Make the bucket nowhere, or name another one.',
  });
  await t.rejects(s3(fauxqs.address, 's3://nowhere').list(''), { name: 'Refusal', message: /NoSuchBucket/ });
  t.throws(() => openStorage('s3://keep', readSettings({})), { message: /needs a key to S3/ });
  t.throws(() => openStorage('s3://', readSettings({})), { message: /names no bucket/ });
});

t.test(
  'F10 S3 that takes what it is sent and never answers is given up, whatever is collected meanwhile',
  async (t) => {
    const sockets = new Set<Socket>();
    const silent = createTcpServer((socket) => void sockets.add(socket.on('error', () => {}).resume()));
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    t.teardown(() => {
      silent.close();
      for (const socket of sockets) socket.destroy();
    });
    const { port } = silent.address() as AddressInfo;
    const settings = readSettings({ S3_ENDPOINT: `http://127.0.0.1:${port}`, S3_KEY: 'key', S3_SECRET: 'secret' });
    const storage = openStorage('s3://keep', settings, { answersWithin: 300, tries: 2 });
    setFlagsFromString('--expose-gc');
    const collect = setInterval(runInNewContext('gc'), 20);
    t.teardown(() => clearInterval(collect));
    await t.rejects(storage.put('x', of('x')), { name: 'Refusal', message: /does not answer: no answer within 0.3 s/ });
    const stop = new AbortController();
    const stopped = openStorage('s3://keep', settings).put('x', of('x'), stop.signal);
    setTimeout(() => stop.abort(), 100);
    await t.rejects(stopped, { name: 'AbortError' });
  },
);

t.test('F10 a listing of S3 that comes in pages is read whole', async (t) => {
  const storage = s3(fauxqs.address, 's3://keep/many & <odd>');
  const names = Array.from({ length: 1005 }, (_, index) => `n${String(index).padStart(4, '0')}`);
  for (let begin = 0; begin < names.length; begin += 50)
    await Promise.all(names.slice(begin, begin + 50).map((name) => storage.put(name, of('x'))));
  t.strictSame(
    (await storage.list('n')).map(({ name }) => name),
    names,
  );
});
