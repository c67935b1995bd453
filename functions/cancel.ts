import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

// A server that does not even end a connection within this time is not waited for.
const answersWithin = 500;

/** The protocol of node-postgres below its queries. */
type Connection = pg.Connection & {
  connect(portOrPath: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: number): void;
};
type Client = {
  connection: Connection;
  host: string;
  port: number;
  ssl: unknown;
  sslNegotiation: string;
  processID: number;
  secretKey: number;
};

/**
 * Cancels what runs on a connection when a signal says so, again and again until it has ended: what overtakes its statement on the way
 * cancels nothing.
 *
 * @returns to be called when it has ended: tells whether what was sent has been handled, so that the connection can be used again; nothing
 *   where nothing was sent.
 */
export function cancelOn(
  signal: AbortSignal,
  config: pg.ClientConfig,
  running: pg.ClientBase,
): () => Promise<boolean> | undefined {
  let sent: Promise<boolean> | undefined;
  let ended = false;
  const onAbort = async (): Promise<void> => {
    for (let wait = 50; !ended; wait *= 2) {
      sent = cancel(config, running);
      await sent;
      await sleep(wait);
    }
  };
  signal.addEventListener('abort', onAbort, { once: true });
  return () => {
    ended = true;
    signal.removeEventListener('abort', onAbort);
    return sent;
  };
}

/**
 * Cancels what runs on a connection, by a connection of its own that needs no place in a pool and no login: Postgres's CancelRequest.
 *
 * @param config the way to the server, as the client was connected.
 * @returns whether Postgres has handled it, so that it can hit nothing that runs later.
 */
export function cancel(config: pg.ClientConfig, running: pg.ClientBase): Promise<boolean> {
  const { processID, secretKey } = running as unknown as Client;
  const { connection, host, port, ssl, sslNegotiation } = new pg.Client(config) as unknown as Client;
  return new Promise((resolve) => {
    let sent = false;
    const finish = (handled: boolean): void => {
      clearTimeout(timer);
      connection.stream.destroy();
      resolve(handled);
    };
    const timer = setTimeout(finish, answersWithin, false);
    const send = (): void => {
      connection.cancel(processID, secretKey);
      sent = true;
    };
    const isAskedForSsl = ssl && sslNegotiation !== 'direct';
    connection.once('connect', () => (isAskedForSsl ? connection.requestSsl() : ssl || send()));
    connection.once('sslconnect', send);
    connection.on('error', () => finish(false));
    // Postgres ends the connection when it has signalled its process.
    connection.once('end', () => finish(sent));
    if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`);
    else connection.connect(port, host);
  });
}
