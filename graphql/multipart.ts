import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import type { Params } from './respond.ts';

/** A multipart request that is not as graphql-multipart-request-spec says. */
export class Malformed extends Error {}

/** Takes one of the files, and gives what stands for it in the variables. */
type Take = (file: { name: string; stream: Readable }) => Promise<unknown>;

const mostFiles = 20;
const partHeaderBytes = 8192;

export function isMultipart({ method, headers }: IncomingMessage): boolean {
  return method === 'POST' && /^multipart\/form-data\s*;/i.test(headers['content-type'] ?? '');
}

/**
 * Reads a multipart request: first `operations`, then `map`, then the files, each of which is handed on as it comes.
 *
 * @param most the largest `operations` and `map`, in bytes.
 * @param begin is given the parameters before any file is read; what it throws ends the request.
 * @returns the parameters, with what was taken in the places that `map` names.
 * @throws Malformed; what `begin` and `take` throw.
 */
export function readMultipart(
  request: IncomingMessage,
  most: number,
  begin: (params: Params) => Promise<Take>,
): Promise<Params> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      request.unpipe(parser);
      // Whoever writes one of them stops at once.
      for (const stream of streams) stream.destroy(new Error('the request was cut short'));
      reject(error);
    };
    const streams: Readable[] = [];
    const limits = { fieldSize: most, fields: 2, files: mostFiles, parts: mostFiles + 2, headerSize: partHeaderBytes };
    let parser: BusboyInstance;
    try {
      parser = new Busboy({
        headers: { ...request.headers, 'content-type': request.headers['content-type'] ?? '' },
        limits,
      });
    } catch (error) {
      return reject(new Malformed((error as Error).message));
    }
    let params: Params | undefined;
    let places: Map<string, string[]> | undefined;
    let take: Promise<Take> | undefined;
    const taken: Promise<void>[] = [];

    parser.on('field', (name, text, _, isCut) => {
      try {
        if (isCut) throw new Malformed(`The part ${name} is larger than ${most} bytes.`);
        if (name === 'operations' && !params) params = readOperations(text);
        else if (name === 'map' && params && !places) places = readMap(text);
        else throw new Malformed('Send the parts in this order: operations, map, the files.');
      } catch (error) {
        fail(error);
      }
    });
    parser.on('file', (part, stream, name) => {
      // What goes wrong with the request is told by it; a stream that nobody listens to would end the process.
      stream.on('error', () => {});
      streams.push(stream);
      const named = places?.get(part);
      if (!params || !named)
        return fail(new Malformed(`The part ${part} is a file that map, before it, does not name.`));
      places?.delete(part);
      take ??= begin(params);
      const holder = params;
      const work = take
        .then((act) => act({ name: name ?? '', stream }))
        .then((value) => {
          for (const place of named) put(holder, place, value);
        });
      taken.push(work);
      work.catch(fail);
    });
    for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const)
      parser.on(limit, () => fail(new Malformed(`A request has at most ${mostFiles} files.`)));
    parser.on('error', (error) => fail(new Malformed((error as Error).message)));
    parser.on('finish', () => {
      Promise.all(taken).then(() => {
        if (!params || !places) return fail(new Malformed('The parts operations and map are missing.'));
        if (places.size > 0) return fail(new Malformed(`The file ${[...places.keys()][0]} of map is missing.`));
        resolve(params);
      }, fail);
    });
    request.on('error', fail);
    request.on('close', () => {
      if (!request.complete) fail(new Malformed('The request was cut short.'));
    });
    request.pipe(parser);
  });
}

function readOperations(text: string): Params {
  const params = parse(text, 'operations');
  if (typeof params !== 'object' || params === null || Array.isArray(params))
    throw new Malformed('The part operations is to be one operation, as a JSON object.');
  return params as Params;
}

/** Where each file goes: paths such as `variables.file`, `variables.files.0`. */
function readMap(text: string): Map<string, string[]> {
  const map = parse(text, 'map');
  const isMap =
    typeof map === 'object' &&
    map !== null &&
    !Array.isArray(map) &&
    Object.values(map).every((paths) => Array.isArray(paths) && paths.every((path) => typeof path === 'string'));
  if (!isMap) throw new Malformed('The part map is to be a JSON object of lists of paths.');
  const entries = Object.entries(map as Record<string, string[]>);
  if (entries.length > mostFiles || entries.some(([, paths]) => paths.length > mostFiles))
    throw new Malformed(`A request has at most ${mostFiles} files.`);
  return new Map(entries);
}

function parse(text: string, part: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Malformed(`The part ${part} is not JSON.`);
  }
}

/** Puts a value where null stands. Only what the client sent itself is walked through. */
function put(params: Params, path: string, value: unknown): void {
  const [first, ...keys] = path.split('.');
  const last = keys.pop();
  let holder: unknown = first === 'variables' ? params.variables : undefined;
  for (const key of keys) holder = own(holder, key);
  if (last === undefined || own(holder, last) !== null) throw new Malformed(`There is no null at ${path} for a file.`);
  Object.defineProperty(holder, last, { value, enumerable: true, configurable: true, writable: true });
}

function own(holder: unknown, key: string): unknown {
  return typeof holder === 'object' && holder !== null && Object.hasOwn(holder, key)
    ? (holder as Record<string, unknown>)[key]
    : undefined;
}
