import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

// The unified services of goszakup.gov.kz (OWS v3) as they are documented: registers in pages, the newest first, with a bearer token.

type Item = Record<string, unknown>;
type Fault = (request: IncomingMessage, response: ServerResponse) => void;

export type GoszakupServer = {
  url: string;
  /** What is there, by path. */
  registers: Record<string, Item[]>;
  /** What was asked for, oldest first. */
  asked: string[];
  /** What answers the next requests in place of the service. */
  faults: Fault[];
};

export const token = 'd41d8cd98f00b204e9800998ecf8427e';
const perPage = 50;

export async function openGoszakupServer(t: Test): Promise<GoszakupServer> {
  const state: GoszakupServer = { url: '', registers: {}, asked: [], faults: [] };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://service');
    state.asked.push(`${url.pathname}${url.search}`);
    const fault = state.faults.shift();
    if (fault) return fault(request, response);
    if (request.headers.authorization !== `Bearer ${token}`) return answer(response, 401, { message: 'Unauthorized' });
    const items = state.registers[url.pathname];
    if (!items) return answer(response, 404, { message: 'Not Found' });
    return answer(response, 200, pageOf(url, items));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return state;
}

function pageOf(url: URL, items: Item[]): object {
  const limit = Math.min(Number(url.searchParams.get('limit')) || perPage, 500);
  const after = Number(url.searchParams.get('search_after')) || Number.POSITIVE_INFINITY;
  const left = items.filter(({ id }) => Number(id) < after).sort((one, other) => Number(other.id) - Number(one.id));
  const page = left.slice(0, limit);
  // As the documentation shows it: of some registers without the version.
  const path = url.pathname === '/v3/acts' ? '/acts' : url.pathname;
  return {
    total: items.length,
    limit,
    next_page: left.length > limit ? `${path}?page=next&search_after=${page.at(-1)?.id}` : '',
    items: page,
  };
}

export function answer(response: ServerResponse, status: number, body: object | string, headers: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

/** A contract as the register tells of it. */
export const contractItem = (id: number, own: Item = {}): Item => ({
  id,
  parent_id: 0,
  root_id: id,
  trd_buy_id: 243809,
  ref_contract_status_id: 390,
  deleted: 0,
  supplier_biin: '120440026517',
  customer_bin: '000140001536',
  contract_number: '89',
  contract_number_sys: `000140001536/16${id}/00`,
  fin_year: 2016,
  ref_contract_year_type_id: 1,
  ref_contract_type_id: 1,
  contract_sum: 32032,
  contract_sum_wnds: 35875.84,
  sign_date: '2016-01-08 10:03:16',
  ec_end_date: '2016-12-31 00:00:00',
  fakt_sum_wnds: 0,
  description_ru: 'автомобильные масла',
  system_id: 3,
  index_date: '2018-01-08 08:01:18',
  ...own,
});
