import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { openWorld } from '../world.ts';

type Rule = {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: { summary: string; runbook: string };
};

const docs = path.join(import.meta.dirname, '../../docs');
const { groups } = parse(readFileSync(path.join(docs, 'alerts.yml'), 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

/** The metrics that an expression reads: names outside of strings. */
function metricsOf(expr: string): string[] {
  return expr.replace(/"[^"]*"/g, '').match(/\b(?:plinth|process|nodejs)_\w+/g) ?? [];
}

t.test('E6 every alert says how bad it is, what it is, and where to read what to do', async (t) => {
  const headings = [...readFileSync(path.join(docs, 'health.md'), 'utf8').matchAll(/^#+ (.+)$/gm)];
  const anchors = headings.map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replace(/\s+/g, '-'),
  );
  t.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length, 'each has a name of its own');
  for (const { alert, labels, annotations } of rules) {
    t.match(labels.severity, /^(warning|critical)$/, alert);
    t.ok(annotations.summary.length > 10, alert);
    const [page, anchor = ''] = annotations.runbook.split('#');
    t.equal(page, 'docs/health.md', alert);
    t.ok(anchors.includes(anchor), `${alert}: there is a section ${anchor}`);
  }
});

t.test('E6 every metric and every check that an alert reads is exported by a running server', async (t) => {
  const world = await openWorld(t);
  await world.ask('{ me { username } }');
  // An age that is not known is not told.
  await world.owner.query(`
    select operations.backup_started('first', 'portable', 'here', 'all');
    select operations.backup_finished('first', 1000, 10);
    select operations.backup_proven('first', 4.5);`);
  const text = await (await fetch(`${world.server.url}metrics`)).text();
  const exported = new Set(text.split('\n').map((line) => line.split(/[ {]/)[0]));
  for (const { alert, expr } of rules) {
    const metrics = metricsOf(expr);
    t.ok(metrics.length > 0, alert);
    for (const metric of metrics) t.ok(exported.has(metric), `${alert}: ${metric}`);
  }
  const checks = new Set([...text.matchAll(/check="([^"]+)"/g)].map(([, name]) => name));
  const named = rules.flatMap(({ expr }) =>
    [...expr.matchAll(/check=~?"([^"]+)"/g)].flatMap(([, names = '']) => names.split('|')),
  );
  t.ok(named.length > 0);
  for (const name of named) t.ok(checks.has(name), name);
});
