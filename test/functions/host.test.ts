import { tmpdir } from 'node:os';
import t from 'tap';
import { diskOf, openHostMetrics } from '../../functions/host.ts';

t.test(
  'C18 the machine is measured by the disk of a folder; without the folder nothing is told of a disk',
  async (t) => {
    const disk = await diskOf(tmpdir());
    t.ok(disk && disk.size > 0 && disk.free <= disk.size);
    const { memory_usage: memory, disk_usage: used } = await openHostMetrics(tmpdir())();
    t.ok(memory > 0 && memory < 1);
    t.ok(used !== undefined && used >= 0 && used <= 1);
    t.notOk('disk_usage' in (await openHostMetrics('/nowhere')()));
    t.equal(await diskOf('/nowhere'), undefined);
  },
);
