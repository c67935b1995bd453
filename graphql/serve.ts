import { GraphQLError } from 'graphql';
import type { Logger } from 'pino';
import type { Answers } from './answers.ts';
import { limitError } from './context.ts';
import { tellError } from './errors.ts';
import type { Asked, Engine } from './execute.ts';
import type { Gate } from './gate.ts';
import type { Metrics } from './metrics.ts';
import type { Operation } from './operations.ts';
import {
  bodyOf,
  deepest,
  type GoodParams,
  goodParams,
  nestTooDeep,
  type Outcome,
  type Params,
  respond,
  withoutHttp,
} from './respond.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { Transport } from './transport.ts';
import type { TrustedDocuments } from './trusted.ts';

/** Answers operations, whatever they came over. */
export type Serving = {
  /** Answers what is answered once; undefined where its parameters are malformed. */
  answer(params: Params, asked: Asked, readOnly: boolean): Promise<Outcome | undefined>;
  serve: Transport['serve'];
  /** The kind of a request's operation; undefined where it has none, or is about to be refused: to read it costs more than all else. */
  kindOf(params: Params, caller: Asked['caller']): Operation['kind'] | undefined;
  /** Refuses, before a file is read, what takes none. @throws GraphQLError, or a list of them. */
  requireMutation(params: Params, caller: Asked['caller']): void;
};

const malformed = {
  message: 'The parameters of the operation are malformed.',
  extensions: { code: 'BAD_REQUEST' },
};

/** @param engine the one of now: it changes with the database. */
export function openServing({
  engine,
  subscriptions,
  gate,
  answers,
  trusted,
  metrics,
  log,
}: {
  engine: () => Engine;
  subscriptions: Subscriptions;
  gate: Gate;
  answers: Answers;
  trusted: TrustedDocuments;
  metrics: Metrics | undefined;
  log: Logger;
}): Serving {
  /** With a trusted document in place of its name; undefined where they are malformed. */
  function readParams(params: Params): GoodParams | GraphQLError | undefined {
    const found = trusted.resolve(params);
    const good = found instanceof GraphQLError ? found : goodParams(found);
    if (!good || good instanceof GraphQLError || !nestTooDeep(good.variables)) return good;
    return limitError(`The variables of the operation nest deeper than ${deepest}.`);
  }

  function kindOf(params: Params, caller: Asked['caller']): Operation['kind'] | undefined {
    const good = readParams(params);
    if (!gate.hasRoom(caller) || !good || good instanceof GraphQLError) return undefined;
    try {
      return engine().operations(good.query, good.operationName, () => gate.read(caller)).kind;
    } catch {
      return undefined;
    }
  }

  const answer: Serving['answer'] = async (params, asked, readOnly) => {
    const started = performance.now();
    const good = readParams(params);
    if (!good) return;
    const outcome: Outcome =
      good instanceof GraphQLError
        ? { executed: false, data: null, errors: [good.toJSON()], rows: 0 }
        : await respond(engine(), good, asked, { readOnly, gate, answers });
    const code = outcome.errors && String(outcome.errors[0]?.extensions?.code ?? 'BAD_REQUEST');
    metrics?.executed(outcome.operation?.kind ?? 'none', code ?? 'OK', outcome.rows);
    log.info(
      {
        id: asked.id,
        operation: outcome.operation?.name ?? outcome.operation?.kind,
        role: asked.caller.role,
        ms: Math.round((performance.now() - started) * 100) / 100,
        rows: outcome.rows,
        ...(code !== undefined && { code }),
      },
      'request',
    );
    return outcome;
  };

  const subscribe: Transport['serve'] = (params, asked, listener, after) => {
    const { query, operationName, variables } = readParams(params) as GoodParams;
    const open = (): Operation => engine().operations(query, operationName);
    try {
      gate.arrive(asked);
      gate.admit(asked, open());
    } catch (error) {
      const told = tellError(error, engine(), asked.id);
      metrics?.executed('subscription', String(told.extensions?.code), 0);
      listener.end([withoutHttp(told)]);
      return () => {};
    }
    // A client may begin and end them by the ten thousand: each a line would fill the disk.
    log.debug({ id: asked.id, operation: operationName ?? 'subscription', role: asked.caller.role }, 'subscription');
    metrics?.executed('subscription', 'OK', 0);
    return subscriptions.subscribe({ open, variables, asked, after }, listener);
  };

  return {
    answer,
    kindOf,
    requireMutation(params, caller) {
      const good = readParams(params);
      if (!good) throw new GraphQLError(malformed.message);
      if (good instanceof GraphQLError) throw good;
      const { kind } = engine().operations(good.query, good.operationName, () => gate.read(caller));
      if (kind !== 'mutation') throw new GraphQLError('Only a mutation takes files.');
    },
    serve(params, asked, listener, after) {
      if (kindOf(params, asked.caller) === 'subscription') return subscribe(params, asked, listener, after);
      answer(params, asked, false)
        .then((outcome) => {
          if (!outcome) return listener.end([malformed]);
          if (!outcome.executed) return listener.end(outcome.errors);
          listener.next({ text: bodyOf(outcome), cursor: null, framed: new Map() });
          listener.end();
        })
        .catch((error) => listener.end([tellError(error, engine(), asked.id)]));
      return () => {};
    },
  };
}
