import type { Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os';
import type { CacheState } from '../functions/cache.ts';
import type { LogState } from '../functions/event-log.ts';
import { diskOf } from '../functions/host.ts';
import type { QueryTimes } from '../functions/query-times.ts';
import type { ReplicaState } from '../functions/replica.ts';
import type { Collector } from './metrics.ts';
import { readings, readingsOf } from './readings.ts';

/** The connections to Postgres, and what the server waited for it. */
export function collectQueries(
  connections: () => { total: number; idle: number; waiting: number },
  times: QueryTimes,
): Collector {
  return readings([
    ['plinth_pool_connections', 'Connections of the API to Postgres.', () => connections().total],
    ['plinth_pool_idle_connections', 'Those that nobody uses.', () => connections().idle],
    ['plinth_pool_waiting_requests', 'Requests that wait for a connection.', () => connections().waiting],
    ['plinth_postgres_slow_queries_total', 'Round trips over SLOW_QUERY_MS.', () => times.totals().slow],
  ]);
}

/** The event log, and who listens to it. */
export function collectEvents(
  state: () => LogState,
  subscriptions: { count(): number; totals(): { events: number; deliveries: number; cutOff: number } },
): Collector {
  return readings([
    ['plinth_subscribers', 'Subscriptions that are open.', subscriptions.count],
    ['plinth_events_total', 'Events that were read from the log.', () => subscriptions.totals().events],
    ['plinth_event_deliveries_total', 'Texts that were sent to subscribers.', () => subscriptions.totals().deliveries],
    [
      'plinth_subscribers_cut_off_total',
      'Clients who read more slowly than events came.',
      () => subscriptions.totals().cutOff,
    ],
    ['plinth_event_log_lag_seconds', 'How long the oldest event of the last batch had waited.', () => state().lag],
    ['plinth_event_log_last_read_seconds', 'How long ago the log was last read.', () => state().lastRead],
    ['plinth_event_log_connected', 'Whether the log can be read: 0 or 1.', () => Number(state().connected)],
    ['plinth_event_log_leader', 'Whether this process leads: 0 or 1; one of all does.', () => Number(state().leader)],
    ['plinth_event_log_processes', 'Processes that follow the log.', () => state().processes],
    [
      'plinth_oldest_transaction_seconds',
      'How long the oldest transaction that writes has run.',
      () => state().oldestTransaction,
    ],
    ['plinth_notify_queue_ratio', 'The share of the queue of NOTIFY that is in use.', () => state().notifyQueue],
  ]);
}

const breakerStates = ['closed', 'half-open', 'open'];

/** The cache, and the breaker before it: 0 closed, 1 half-open, 2 open (E1). */
export function collectCache(state: () => CacheState): Collector[] {
  return [
    readings([
      ['plinth_cache_hits_total', 'What was found in the cache.', () => state().hits],
      ['plinth_cache_misses_total', 'What was not.', () => state().misses],
      ['plinth_cache_bytes', 'What the cache takes of the memory of this process.', () => state().bytes ?? 0],
      ['plinth_breaker_failures', 'Failures in a row of the cache.', () => state().breaker?.failures ?? 0],
    ]),
    readingsOf(async () => [state().breaker?.state ?? 'closed'], { name: () => 'cache' }, [
      [
        'plinth_breaker_state',
        'Whether a breaker lets calls through: 0 closed, 1 half-open, 2 open.',
        (name) => breakerStates.indexOf(name),
      ],
    ]),
  ];
}

/** What the gate let through and turned away (F7). */
export function collectGate(state: () => { counted: number; refused: number }): Collector {
  return readings([
    ['plinth_rate_counted_total', 'What was counted against a limit, and let through.', () => state().counted],
    ['plinth_rate_refused_total', 'What was over a limit, and refused.', () => state().refused],
  ]);
}

/** The replica; without one it is not lost, and answers nothing. */
export function collectReplica(state: (() => ReplicaState) | undefined): Collector {
  return readings([
    [
      'plinth_replica_lost',
      'Whether the replica is lost or behind: 0 or 1.',
      () => Number((state?.().state ?? 'used') !== 'used'),
    ],
    ['plinth_replica_lag_seconds', 'How old what it shows may be.', () => (state?.().lagMilliseconds ?? 0) / 1000],
    ['plinth_replica_queries_total', 'Queries that it answered.', () => state?.().queries ?? 0],
    [
      'plinth_replica_handed_on_total',
      'Queries that it did not answer, and the primary did.',
      () => state?.().handedOn ?? 0,
    ],
  ]);
}

/** Connections of clients, and what went over them (C18). */
export function collectNetwork(server: HttpServer): Collector {
  const open = new Set<Socket>();
  const closed = { read: 0, written: 0 };
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.on('close', () => {
      open.delete(socket);
      closed.read += socket.bytesRead;
      closed.written += socket.bytesWritten;
    });
  });
  const sum = (of: (socket: Socket) => number): number => [...open].reduce((total, socket) => total + of(socket), 0);
  return readings([
    ['plinth_http_connections', 'Connections of clients.', () => open.size],
    [
      'plinth_network_received_bytes_total',
      'Bytes from clients.',
      () => closed.read + sum(({ bytesRead }) => bytesRead),
    ],
    [
      'plinth_network_sent_bytes_total',
      'Bytes to clients.',
      () => closed.written + sum(({ bytesWritten }) => bytesWritten),
    ],
  ]);
}

/** The machine, and the disk of PLINTH_DATA; nothing of that where there is no such folder (C18). */
export function collectMachine(folder: string): Collector {
  return readings([
    ['plinth_machine_load', 'Processes that run or wait to, the average of a minute.', () => loadavg()[0]],
    ['plinth_machine_processors', 'Processors that this process may use.', availableParallelism],
    ['plinth_machine_memory_bytes', 'The memory of the machine.', totalmem],
    ['plinth_machine_memory_free_bytes', 'What is free of it.', freemem],
    ['plinth_disk_size_bytes', 'The size of the disk of PLINTH_DATA.', async () => (await diskOf(folder))?.size],
    ['plinth_disk_free_bytes', 'What is free of it.', async () => (await diskOf(folder))?.free],
  ]);
}
