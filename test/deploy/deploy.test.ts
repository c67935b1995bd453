import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import { readSettings, settingsSchema } from '../../functions/settings.ts';
import manifest from '../../package.json' with { type: 'json' };
import { until } from '../events/listen.ts';
import { launch, temporaryFolder } from '../running-plinth.ts';
import { openScratch } from '../scratch-database.ts';
import { composeFile, type KubernetesObject, kubernetesObject, type Pod, type Service } from './manifests.ts';

const repository = path.join(import.meta.dirname, '..', '..');
const folder = path.join(repository, 'deploy', 'kubernetes');
const read = (...names: string[]): string => readFileSync(path.join(repository, ...names), 'utf8');
const key = randomBytes(32).toString('base64url');
const secrets = { JWT_KEYS: `k1:${key}`, BACKUP_KEY: key };
const settings = Object.keys(settingsSchema.shape);
// Of the cache, whose setting comes with it.
const others = ['NODE_ENV', 'REDIS_URL'];

/** The instructions of the Dockerfile, each on one line, by name. */
const dockerfile = Map.groupBy(
  read('Dockerfile')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => /^[A-Z]/.test(line))
    .map((line) => ({ name: line.split(' ', 1)[0] ?? '', rest: line.slice(line.indexOf(' ') + 1) })),
  ({ name }) => name,
);
const instructions = (name: string): string[] => dockerfile.get(name)?.map(({ rest }) => rest) ?? [];
const environmentOfImage = Object.fromEntries(
  instructions('ENV').flatMap((line) => line.split(' ').map((pair) => pair.split('=') as [string, string])),
);

t.test('E6 what the image copies is enough: it starts in production, and its health check says so', async (t) => {
  const scratch = await openScratch();
  t.teardown(scratch.close);
  const image = temporaryFolder(t);
  for (const line of instructions('COPY')) {
    const names = line.split(' ');
    const to = names.pop() as string;
    for (const name of names) {
      const target = to.endsWith('/') ? path.join(image, to, name) : path.join(image, to);
      const isCopied = (file: string) =>
        !/node_modules|scripts\/(runtime|bench|chaos)/.test(path.relative(repository, file));
      cpSync(path.join(repository, name), target, { recursive: true, filter: isCopied });
    }
  }
  symlinkSync(path.join(repository, 'node_modules'), path.join(image, 'node_modules'));
  const [program, script = ''] = JSON.parse(instructions('CMD')[0] as string) as string[];
  t.equal(program, 'node');
  const env = {
    ...environmentOfImage,
    ...secrets,
    ...{ PLINTH_DATA: path.join(image, 'data'), HOST: '127.0.0.1', PORT: '0', DATABASE_URL: await scratch.create() },
  };
  const { child, ended } = launch(path.basename(script, '.ts'), [], env, image, path.join(image, path.dirname(script)));
  let said = '';
  child.stdout.on('data', (data) => (said += data));
  const readyAt = /^Plinth is ready at \S+:(\d+)\//m;
  await Promise.race([
    until(() => readyAt.test(said), 'That it is ready'),
    ended.then(({ stderr }) => Promise.reject(new Error(stderr))),
  ]);
  const [, PORT = ''] = readyAt.exec(said) ?? [];
  const [, command = ''] = /CMD (\[.*\])/.exec(instructions('HEALTHCHECK')[0] as string) ?? [];
  const [, ...args] = JSON.parse(command) as string[];
  const healthy = (port: string): Promise<number | null> =>
    new Promise((resolve) => {
      spawn(process.execPath, args, { env: { PORT: port }, stdio: 'ignore' }).once('close', resolve);
    });
  t.equal(await healthy(PORT), 0);
  child.kill('SIGTERM');
  t.equal((await ended).status, 0);
  t.equal(await healthy(PORT), 1);
  t.match(instructions('USER'), ['node'], 'it does not run as root');
  const ignored = read('.dockerignore').split('\n');
  for (const line of instructions('COPY')) {
    for (const name of line.split(' ').slice(0, -1))
      t.ok(ignored.includes(`!${name}`), `${name} is sent to the builder`);
  }
});

t.test('E6 compose.yml fits the specification, the settings and the image', async (t) => {
  const { services, volumes } = composeFile.parse(parse(read('compose.yml'), { merge: true }));
  t.same(Object.keys(services), ['database', 'redis', 'server', 'worker']);
  for (const name of ['server', 'worker']) {
    const { environment = {}, image, volumes: mounted = [], command } = services[name] as Service;
    const filled = Object.entries(environment).map(([variable, value]) => [
      variable,
      value.replace(
        /\$\{(\w+)[^}]*\}/g,
        (_, given: string) => ({ ...secrets, POSTGRES_PASSWORD: 'secret' })[given] ?? '',
      ),
    ]);
    const env = { ...environmentOfImage, ...Object.fromEntries(filled) };
    for (const variable of Object.keys(env)) t.ok([...settings, ...others].includes(variable), `${name}: ${variable}`);
    t.match(readSettings(env), { development: false, workers: false, backupStorage: '/backups' });
    t.equal(image, `plinth:${manifest.version}`);
    for (const each of mounted) t.ok((each.split(':')[0] as string) in volumes, each);
    t.ok(existsSync(path.join(repository, command?.at(-1) ?? 'scripts/start.ts')), 'its script is there');
  }
  for (const [name, { depends_on: stands = {} }] of Object.entries(services)) {
    for (const [other, { condition }] of Object.entries(stands)) {
      t.ok(services[other], `${name} stands on ${other}`);
      const check = other === 'server' ? instructions('HEALTHCHECK') : services[other]?.healthcheck;
      if (condition === 'service_healthy') t.ok(check, `${other} tells its health`);
    }
  }
  t.notMatch(read('compose.yml'), /^\s*\w*(password|secret|key)s?: *[^$\s]/im, 'no secret stands in it');
});

t.test('E6 the manifests of Kubernetes fit its reference, the settings, the image and each other', async (t) => {
  const files = readdirSync(folder);
  const all = files.flatMap((file) =>
    parseAllDocuments(read('deploy', 'kubernetes', file)).map((document) => kubernetesObject.parse(document.toJS())),
  );
  const of = <Kind extends KubernetesObject['kind']>(kind: Kind) =>
    all.filter((each): each is Extract<KubernetesObject, { kind: Kind }> => each.kind === kind);
  const [config] = of('ConfigMap');
  const [secret] = of('Secret');
  const [kustomization] = of('Kustomization');
  const deployments = of('Deployment');
  t.same(deployments.map(({ metadata }) => metadata.name).sort(), ['plinth-server', 'plinth-worker']);

  for (const name of [...Object.keys(config?.data ?? {}), ...Object.keys(secret?.stringData ?? {})]) {
    t.ok(settings.includes(name), `${name} is a setting`);
  }
  t.same(new Set(Object.values(secret?.stringData ?? {})), new Set(['']), 'the template holds no secret');
  const env = {
    ...environmentOfImage,
    ...config?.data,
    ...secrets,
    DATABASE_URL: 'postgres://a:b@c/d',
    METRICS_TOKEN: key,
  };
  t.match(readSettings(env), { development: false, host: '0.0.0.0', port: 4000, metrics: true });

  const pods: [string, Pod][] = [
    ...deployments.map(({ metadata, spec }): [string, Pod] => [metadata.name, spec.template]),
    ...of('CronJob').map(({ metadata, spec }): [string, Pod] => [metadata.name, spec.jobTemplate.spec.template]),
  ];
  for (const [name, { spec }] of pods) {
    const [{ envFrom, volumeMounts, command = ['node', 'scripts/start.ts'] }] = spec.containers;
    t.same(envFrom, [
      { configMapRef: { name: config?.metadata.name } },
      { secretRef: { name: secret?.metadata.name } },
    ]);
    t.same(new Set(volumeMounts.map((each) => each.name)), new Set(spec.volumes.map((each) => each.name)), name);
    t.ok(
      volumeMounts.some(({ mountPath }) => mountPath === environmentOfImage.PLINTH_DATA),
      `${name} may write there`,
    );
    for (const [script] of command.join(' ').matchAll(/scripts\/\w+\.ts/g))
      t.ok(existsSync(path.join(repository, script)), script);
  }
  for (const { spec } of deployments) t.match(spec.template.metadata.labels, spec.selector.matchLabels);
  const server = deployments.find(({ metadata }) => metadata.name === 'plinth-server');
  const labels = server?.spec.template.metadata.labels;
  t.match(labels, of('Service')[0]?.spec.selector);
  t.match(labels, of('PodDisruptionBudget')[0]?.spec.selector.matchLabels);
  const [container] = server?.spec.template.spec.containers ?? [];
  t.equal(container?.ports?.[0]?.containerPort, Number(environmentOfImage.PORT));
  t.same([container?.livenessProbe?.httpGet.path, container?.readinessProbe?.httpGet.path], ['/health', '/ready']);

  t.same(
    [...(kustomization?.resources ?? []), 'kustomization.yaml', 'secret.example.yaml', 'backup.yaml'].sort(),
    files.sort(),
    'every file is taken, or said to be left out',
  );
  t.equal(kustomization?.images[0]?.newTag, manifest.version);
  t.equal(of('CronJob')[0]?.spec.jobTemplate.spec.template.spec.containers[0].image, `plinth:${manifest.version}`);
});
