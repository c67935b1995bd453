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
