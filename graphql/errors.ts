import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import type { Logger } from 'pino';
import type { ErrorCode } from '../functions/catalog.ts';
import { isLost } from '../functions/requests.ts';
import { camelCase } from './names.ts';

/** What Postgres says of an error; the names are those of `raise … using`. */
type PostgresError = Error & { code?: string; hint?: string; constraint?: string; column?: string };

/** Told of errors that nobody foresaw, and of privileges that Postgres found missing: who may do what is a DBA's work. */
export type Unforeseen = (error: unknown, id: string) => void;

const insufficientPrivilege = '42501';

export function unforeseenTo(log: Logger, report?: Unforeseen): Unforeseen {
  return (error, id) => {
    const { code, message } = error as PostgresError;
    if (code === insufficientPrivilege) log.warn({ id, code, error: message }, 'Postgres refused it');
    else {
      log.error({ id, err: error }, 'an unforeseen error');
      report?.(error, id);
    }
  };
}

/**
 * What a client is told of an error: a message, a code, and the argument or constraint that it is about; never SQL, a stack or
 * another row's data. An error that nobody foresaw is masked and logged under the request's id, which the client gets too.
 *
 * @param engine has the table public.error_codes, and who is told of what nobody foresaw.
 * @param id the request's id.
 */
export function tellError(
  error: unknown,
  { errorCodes: codes, unforeseen }: { errorCodes: ErrorCode[]; unforeseen: Unforeseen },
  id: string,
): GraphQLFormattedError {
  // What graphql-js finds wrong with a document comes without a code.
  if (error instanceof GraphQLError)
    return { ...error.toJSON(), extensions: { code: 'BAD_REQUEST', ...error.extensions } };
  const { code: sqlstate = '', message, hint, constraint, column } = error as PostgresError;
  const known =
    codes.find((each) => each.sqlstate === sqlstate) ??
    codes.find((each) => each.sqlstate === (isLost(error) ? '08' : sqlstate.slice(0, 2)));
  if (!known || (sqlstate === '' && !isLost(error))) {
    unforeseen(error, id);
    return { message: 'Something went wrong on our side.', extensions: { code: 'INTERNAL', id } };
  }
  if (sqlstate === insufficientPrivilege) unforeseen(error, id);
  const ours = sqlstate.startsWith('PT');
  return {
    message: ours ? message : constraint && sqlstate === '23514' ? `${sentence(constraint)}.` : known.description,
    extensions: {
      code: known.code,
      ...(column && ours && { argument: camelCase(column) }),
      ...(constraint && { constraint }),
      ...(hint && ours && { hint }),
    },
  };
}

/** `room_has_a_name` → `Room has a name`: constraints are named as sentences. */
function sentence(constraint: string): string {
  const words = constraint.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
