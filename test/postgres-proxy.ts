import { connect, createServer, type Socket } from 'node:net';

/** A way to Postgres that counts what goes over it, and that can be interrupted. */
export type DatabaseProxy = {
  url: string;
  /**
   * How many messages of each kind requests sent to Postgres since it was asked last, by their letter in the protocol: E executes a
   * statement. Connections that listen have a time of their own and are not counted.
   */
  counted(): Record<string, number>;
  /** Ends every connection, and accepts no other until `mend`. */
  cut(): void;
  /** The same, when so many more bytes have been sent to Postgres. */
  cutAfter(bytes: number): void;
  mend(): void;
  /** Holds the connections that there are, with all that comes over them, and lets new ones through: as where another machine took over. */
  freeze(): void;
  /** Keeps back all that comes over it, until `goOn`. */
  hold(): void;
  goOn(): void;
  close(): Promise<void>;
};

/** Opens a way to the server of a URL. Without encryption, as tests connect. */
export async function openProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const target = new URL(databaseUrl);
  const open = new Set<Socket>();
  let counts: Record<string, number> = {};
  let isCut = false;
  let isHeld = false;
  let left = Number.POSITIVE_INFINITY;
  const server = createServer((client) => {
    if (isCut) return void client.destroy();
    const postgres = connect(Number(target.port || 5432), target.hostname);
    const count = counter((kind) => {
      counts[kind] = (counts[kind] ?? 0) + 1;
    });
    client.on('data', count);
    client.on('data', ({ length }) => {
      left -= length;
      if (left <= 0) cut();
    });
    for (const [one, other] of [
      [client, postgres],
      [postgres, client],
    ] as const) {
      open.add(one);
      one.setNoDelay();
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
    if (isHeld) client.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as { port: number }).port}`;
  const cut = (): void => {
    isCut = true;
    left = Number.POSITIVE_INFINITY;
    for (const socket of open) socket.destroy();
  };
  return {
    url: url.href,
    counted() {
      const all = counts;
      counts = {};
      return all;
    },
    cut,
    cutAfter(bytes) {
      left = bytes;
    },
    mend() {
      isCut = false;
    },
    freeze() {
      for (const socket of open) {
        socket.unpipe();
        // Not even that one end is closed is heard by the other.
        socket.pause();
      }
    },
    hold() {
      isHeld = true;
      for (const socket of open) socket.pause();
    },
    goOn() {
      isHeld = false;
      for (const socket of open) socket.resume();
    },
    async close() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Finds the messages in what a client sends: after the first, which has no letter, a letter and four bytes of length each. */
function counter(found: (kind: string) => void): (chunk: Buffer) => void {
  let pending = Buffer.alloc(0);
  let started = false;
  let isCounted = false;
  return (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    for (;;) {
      const at = started ? 1 : 0;
      if (pending.length < at + 4) return;
      const length = at + pending.readUInt32BE(at);
      if (pending.length < length) return;
      if (!started) isCounted = pending.subarray(0, length).includes('application_name\0plinth\0');
      else if (isCounted) found(String.fromCharCode(pending[0] as number));
      started = true;
      pending = pending.subarray(length);
    }
  };
}
