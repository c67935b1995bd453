import { readFileSync } from 'node:fs';
import t from 'tap';
import { openWorld, schemaFile } from '../world.ts';

const schema = `${readFileSync(schemaFile, 'utf8')}
reset role;
create schema garden;
grant usage on schema garden to anonymous;
create table garden.plots (garden_id integer, id integer, primary key (garden_id, id));
create table garden.gardeners (garden_id integer, id integer, primary key (garden_id, id));
create table garden.beds (
  id integer primary key, garden_id integer, plot_id integer, gardener_id integer,
  foreign key (garden_id, plot_id) references garden.plots (garden_id, id),
  foreign key (garden_id, gardener_id) references garden.gardeners (garden_id, id)
);
create index on garden.beds (garden_id, plot_id);
insert into garden.plots values (1, 2);
insert into garden.gardeners values (1, 3);
insert into garden.beds values (7, 1, 2, 3);
grant select on all tables in schema garden to anonymous;
`;

t.test('keys of several columns are named after the column that is their own', async (t) => {
  const { ask } = await openWorld(t, { schema });
  const query = '{ bed(id: 7) { plot { id beds { nodes { id } } } gardener { id } } }';
  t.same(await ask(query), { data: { bed: { plot: { id: 2, beds: { nodes: [{ id: 7 }] } }, gardener: { id: 3 } } } });
});
