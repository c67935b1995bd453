import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { GraphQLError } from 'graphql';
import type { Logger } from 'pino';
import { type Files, openFiles } from '../functions/files.ts';
import { NotTaken, takeIn } from '../functions/intake.ts';
import type { Requests } from '../functions/requests.ts';
import type { Storage } from '../functions/storage.ts';
import { tellError } from './errors.ts';
import type { Asked, Engine } from './execute.ts';
import { Malformed, readMultipart } from './multipart.ts';
import type { Params } from './respond.ts';
import { ReceivedFile } from './scalars.ts';
import { openPlaces } from './shares.ts';

// How long a client may send nothing, and how long a request may take, in milliseconds.
const patience = 20_000;
const longest = 3_600_000;
// What is received at once by one server, of all and of one user; each holds up to some megabytes where the storage is S3.
const together = 256;
const ofOne = 20;
// A client that is told while it sends still reads the answer, if what it sends meanwhile is taken.
const drainedFor = 2000;

/** Why a file was not taken, for its sender. */
export type Told = { status: number; code: string; message: string; extensions?: Record<string, unknown> | undefined };

const statusOf: Record<string, number> = {
  BAD_USER_INPUT: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  LIMIT_EXCEEDED: 413,
  TOO_MANY_REQUESTS: 429,
  MAINTENANCE: 503,
  UNAVAILABLE: 503,
  RETRY: 503,
};

/** Takes the files of multipart requests, and of PUTs, into the storage. */
export function openUploads({
  engine,
  requests,
  storage,
  log,
  maxBodyBytes,
}: {
  engine: () => Engine;
  requests: Requests;
  storage: Storage;
  log: Logger;
  maxBodyBytes: number;
}) {
  const files: Files = openFiles(requests);
  const takePlace = openPlaces(ofOne);
  let running = 0;

  /** Runs what takes files, if there is room for one more. */
  async function counted<Result>(sender: string, act: () => Promise<Result>): Promise<Result> {
    const leave = running < together ? takePlace(sender) : undefined;
    if (!leave) throw unavailable('Too many files are being received; try again later.');
    running += 1;
    try {
      return await act();
    } finally {
      running -= 1;
      leave();
    }
  }

  /** What its sender is told of a file that was not taken; nothing where nobody is there. */
  function tell(error: unknown, id: string, signal: AbortSignal): Told | undefined {
    if (signal.aborted) return;
    if (error instanceof Malformed) return { status: 400, code: 'BAD_REQUEST', message: error.message };
    if (error instanceof NotTaken) {
      if (error.reason === 'too large') return tooLarge;
      if (error.reason === 'too slow') return { status: 408, code: 'TIMEOUT', message: 'The bytes came too slowly.' };
      if (error.reason === 'cut short')
        return { status: 400, code: 'BAD_REQUEST', message: 'The request was cut short.' };
      log.error({ id, err: error.cause, storage: storage.place }, 'the storage of files fails');
      const message = 'The storage of files does not answer; nothing was kept. Try again later.';
      return { status: 503, code: 'UNAVAILABLE', message };
    }
    const list = Array.isArray(error) ? error : [error];
    const { message, extensions } = tellError(list[0], engine(), id);
    const code = String(extensions?.code);
    return { status: statusOf[code] ?? (code === 'INTERNAL' ? 500 : 400), code, message, extensions };
  }

  return {
    files,
    tell,
    /**
     * Reads a multipart request, its files into the storage.
     *
     * @param check ends with an error where the operation cannot be run: before any file is read.
     * @returns the parameters of the operation; `end` is called when it has been answered.
     */
    async receive(
      request: IncomingMessage,
      asked: Asked,
      check: (params: Params) => void,
    ): Promise<{ params: Params; end(): Promise<void> } | { told: Told | undefined }> {
      const begun: string[] = [];
      const signal = AbortSignal.any([asked.signal, AbortSignal.timeout(longest)]);
      const stop = new AbortController();
      const all = AbortSignal.any([signal, stop.signal]);
      const end = async (): Promise<void> => {
        if (begun.length === 0) return;
        await files.cancel(asked.caller, begun).catch((error) => {
          log.warn({ id: asked.id, error: (error as Error).message }, 'uploads are left to expire');
        });
      };
      try {
        const params = await counted(asked.caller.claims.sub ?? '', () =>
          readMultipart(request, maxBodyBytes, async (given) => {
            check(given);
            return async ({ name, stream }) => {
              const { id, stored, most } = await files.begin(asked.caller, name);
              begun.push(id);
              const taken = await takeIn(storage, stored, stream, { most, patience, signal: all });
              await files.received(id, stored, taken);
              return new ReceivedFile(id);
            };
          }),
        );
        return { params, end };
      } catch (error) {
        stop.abort();
        await end();
        const told = tell(error, asked.id, asked.signal);
        if (told) await drain(request);
        return { told };
      }
    },
    /** Takes the bytes of an upload that has an address here. */
    async put(
      request: IncomingMessage,
      sender: string,
      stored: string,
      bytes: number,
      gone: AbortSignal,
    ): Promise<void> {
      const signal = AbortSignal.any([gone, AbortSignal.timeout(longest)]);
      const announced = Number(request.headers['content-length'] ?? bytes);
      if (announced !== bytes) throw lengthError(bytes, announced);
      await counted(sender, async () => {
        const whole = async function* (): AsyncGenerator<Uint8Array> {
          let came = 0;
          for await (const chunk of request as AsyncIterable<Uint8Array>) {
            came += chunk.length;
            yield chunk;
          }
          if (came < bytes) throw lengthError(bytes, came);
        };
        await takeIn(storage, stored, whole(), { most: bytes, patience, signal });
      });
    },
    drain,
  };
}
export type Uploads = ReturnType<typeof openUploads>;

const tooLarge: Told = {
  status: 413,
  code: 'LIMIT_EXCEEDED',
  message: 'The file is larger than is allowed, or than was announced, or than your quota leaves.',
};

function unavailable(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'UNAVAILABLE' } });
}

function lengthError(bytes: number, came: number): GraphQLError {
  return new GraphQLError(`${bytes} bytes were announced, and ${came} came.`, {
    extensions: { code: 'BAD_USER_INPUT' },
  });
}

/** Takes what still comes of a request, for a moment. */
async function drain(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return;
  request.resume();
  const over = new AbortController();
  await Promise.race([
    new Promise((resolve) => request.once('end', resolve).once('close', resolve)),
    sleep(drainedFor, undefined, { signal: over.signal }).catch(() => {}),
  ]);
  over.abort();
}
