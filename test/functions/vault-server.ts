import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

// Speaks as much of Vault's HTTP API as a KV engine of version 2 at secret/ has for one who reads, writes and deletes secrets
// (https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2).

type Metadata = {
  created_time: string;
  custom_metadata: null;
  deletion_time: string;
  destroyed: boolean;
  version: number;
};
type Version = { data: unknown; metadata: Metadata };

/** What it does in place of answering, once. */
type Fault = (response: ServerResponse) => void;

export const vaultToken = 'hvs.a-token-of-the-tests';

export async function openVault(t: Test) {
  const secrets = new Map<string, Version[]>();
  const faults: Fault[] = [];
  const state = { isSealed: false, asked: 0 };

  const server = createServer(async (request, response) => {
    state.asked += 1;
    const answer = (status: number, body?: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
    };
    const refuse = (status: number, ...errors: string[]): void => answer(status, { errors });
    let text = '';
    for await (const chunk of request) text += chunk;
    const fault = faults.shift();
    if (fault) return fault(response);
    if (state.isSealed) return refuse(503, 'Vault is sealed');
    const [, path = ''] = /^\/v1\/secret\/data\/(.+)$/.exec(request.url ?? '') ?? [];
    if (request.headers['x-vault-token'] !== vaultToken) return refuse(403, 'permission denied');
    if (!path) return refuse(404);
    const versions = secrets.get(path) ?? [];
    const last = versions.at(-1);
    if (request.method === 'GET') {
      if (!last) return refuse(404);
      return answer(last.metadata.deletion_time ? 404 : 200, { request_id: '1', lease_id: '', data: last });
    }
    if (request.method === 'DELETE') {
      if (last) Object.assign(last, { data: null });
      if (last) last.metadata.deletion_time = new Date().toISOString();
      return answer(204);
    }
    const { data, options } = JSON.parse(text);
    if (options?.cas !== undefined && options.cas !== versions.length) {
      return refuse(400, 'check-and-set parameter did not match the current version');
    }
    const metadata: Metadata = {
      created_time: new Date().toISOString(),
      custom_metadata: null,
      deletion_time: '',
      destroyed: false,
      version: versions.length + 1,
    };
    secrets.set(path, [...versions, { data, metadata }]);
    answer(200, { request_id: '1', data: metadata });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ask = (method: string, path: string, body?: object) =>
    fetch(`${url}/v1/secret/data/${path}`, {
      method,
      headers: { 'x-vault-token': vaultToken },
      ...(body && { body: JSON.stringify(body) }),
    });
  return {
    url,
    state,
    faults,
    /** As who runs the place does: `vault kv put`, `vault kv delete`. */
    put: (path: string, data: object) => ask('POST', path, { data }),
    remove: (path: string) => ask('DELETE', path),
    /** The settings of a program that has nothing else. */
    env: (path: string) => ({ VAULT_ADDR: `${url}/`, VAULT_TOKEN: vaultToken, VAULT_SECRET: `secret/${path}` }),
  };
}
