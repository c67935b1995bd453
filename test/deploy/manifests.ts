import { z } from 'zod';

// The fields of Docker Compose and Kubernetes that our files use, and nothing beside them: a name that is misspelled is no field. By their
// whole schemas they are checked in official.test.ts.

const text = z.string().min(1);
const word = z.string().regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
const texts = z.array(text).min(1);
const seconds = z.number().int().positive();
const duration = z.string().regex(/^\d+(ms|s|m|h)$/);
const strings = z.record(text, z.string());

const check = z.union([
  z.strictObject({ disable: z.literal(true) }),
  z.strictObject({
    test: z.tuple([z.literal('CMD')], z.string()),
    interval: duration,
    timeout: duration,
    retries: z.number().int().positive(),
  }),
]);

const service = z.strictObject({
  build: text.optional(),
  image: z.string().regex(/^[a-z0-9./-]+:[\w.-]+$/, { error: 'names its version' }),
  restart: z.enum(['no', 'always', 'on-failure', 'unless-stopped']),
  init: z.boolean().optional(),
  read_only: z.boolean().optional(),
  tmpfs: texts.optional(),
  cap_drop: z.tuple([z.literal('ALL')]).optional(),
  security_opt: texts.optional(),
  command: z.array(z.string()).min(1).optional(),
  environment: strings.optional(),
  stop_grace_period: duration.optional(),
  shm_size: z
    .string()
    .regex(/^\d+(b|kb|mb|gb)$/)
    .optional(),
  volumes: z.array(z.string().regex(/^[\w.-]+:\/[\w/.-]*$/)).optional(),
  healthcheck: check.optional(),
  ports: z.array(z.string().regex(/^(\$\{PORT:-\d+\}|\d+):\d+$/)).optional(),
  depends_on: z.record(word, z.strictObject({ condition: z.enum(['service_started', 'service_healthy']) })).optional(),
});

export type Service = z.output<typeof service>;

export const composeFile = z
  .object({ name: word, services: z.record(word, service), volumes: z.record(word, z.null()) })
  // What begins with x- is for the anchors of YAML.
  .catchall(z.unknown())
  .refine((file) => Object.keys(file).every((key) => /^(name|services|volumes|x-.*)$/.test(key)));

const metadata = z.strictObject({
  name: word,
  namespace: word.optional(),
  labels: strings.optional(),
  annotations: strings.optional(),
});
const selector = z.strictObject({ matchLabels: strings });
const quantity = z.string().regex(/^\d+(m|Ki|Mi|Gi)?$/);
const resources = z.strictObject({ cpu: quantity.optional(), memory: quantity });
const named = z.strictObject({ name: word });
const probe = z.strictObject({
  httpGet: z.strictObject({ path: z.string().startsWith('/'), port: word }),
  periodSeconds: seconds,
  timeoutSeconds: seconds.optional(),
  failureThreshold: seconds,
});

const container = z.strictObject({
  name: word,
  image: z.string().regex(/^plinth(:[\d.]+)?$/),
  command: texts.optional(),
  ports: z.array(z.strictObject({ name: word, containerPort: z.number().int() })).optional(),
  envFrom: z.array(z.union([z.strictObject({ configMapRef: named }), z.strictObject({ secretRef: named })])),
  startupProbe: probe.optional(),
  livenessProbe: probe.optional(),
  readinessProbe: probe.optional(),
  lifecycle: z.strictObject({ preStop: z.strictObject({ exec: z.strictObject({ command: texts }) }) }).optional(),
  resources: z.strictObject({ requests: resources, limits: resources }),
  securityContext: z.strictObject({
    allowPrivilegeEscalation: z.literal(false),
    readOnlyRootFilesystem: z.literal(true),
    capabilities: z.strictObject({ drop: z.tuple([z.literal('ALL')]) }),
  }),
  volumeMounts: z.array(z.strictObject({ name: word, mountPath: z.string().startsWith('/') })),
});

const pod = z.strictObject({
  metadata: z.strictObject({ labels: strings, annotations: strings.optional() }),
  spec: z.strictObject({
    automountServiceAccountToken: z.literal(false),
    restartPolicy: z.enum(['Never', 'OnFailure']).optional(),
    terminationGracePeriodSeconds: seconds.optional(),
    securityContext: z.strictObject({
      runAsNonRoot: z.literal(true),
      runAsUser: seconds,
      runAsGroup: seconds,
      fsGroup: seconds,
      seccompProfile: z.strictObject({ type: z.literal('RuntimeDefault') }),
    }),
    topologySpreadConstraints: z
      .array(
        z.strictObject({
          maxSkew: seconds,
          topologyKey: text,
          whenUnsatisfiable: z.enum(['DoNotSchedule', 'ScheduleAnyway']),
          labelSelector: selector,
        }),
      )
      .optional(),
    containers: z.tuple([container]),
    volumes: z.array(z.strictObject({ name: word, emptyDir: z.strictObject({}) })),
  }),
});

const kind = <Version extends string, Kind extends string, Rest extends z.ZodRawShape>(
  apiVersion: Version,
  name: Kind,
  rest: Rest,
) => z.strictObject({ apiVersion: z.literal(apiVersion), kind: z.literal(name), ...rest });

/** An object of Kubernetes, of the kinds that we use. */
export const kubernetesObject = z.discriminatedUnion('kind', [
  kind('v1', 'Namespace', { metadata }),
  kind('v1', 'ConfigMap', { metadata, data: strings }),
  kind('v1', 'Secret', { metadata, type: z.literal('Opaque'), stringData: strings }),
  kind('v1', 'Service', {
    metadata,
    spec: z.strictObject({
      selector: strings,
      ports: z.array(z.strictObject({ name: word, port: z.number().int(), targetPort: word })),
    }),
  }),
  kind('apps/v1', 'Deployment', {
    metadata,
    spec: z.strictObject({
      replicas: seconds,
      strategy: z
        .strictObject({
          type: z.literal('RollingUpdate'),
          rollingUpdate: z.strictObject({ maxUnavailable: z.number().int(), maxSurge: z.number().int() }),
        })
        .optional(),
      selector,
      template: pod,
    }),
  }),
  kind('policy/v1', 'PodDisruptionBudget', { metadata, spec: z.strictObject({ minAvailable: seconds, selector }) }),
  kind('batch/v1', 'CronJob', {
    metadata,
    spec: z.strictObject({
      schedule: z.string().regex(/^(\S+ ){4}\S+$/),
      timeZone: text,
      concurrencyPolicy: z.enum(['Allow', 'Forbid', 'Replace']),
      startingDeadlineSeconds: seconds,
      successfulJobsHistoryLimit: seconds,
      failedJobsHistoryLimit: seconds,
      jobTemplate: z.strictObject({
        spec: z.strictObject({ backoffLimit: seconds, activeDeadlineSeconds: seconds, template: pod }),
      }),
    }),
  }),
  kind('kustomize.config.k8s.io/v1beta1', 'Kustomization', {
    namespace: word,
    resources: texts,
    images: z.array(z.strictObject({ name: word, newTag: text })),
  }),
]);

export type KubernetesObject = z.output<typeof kubernetesObject>;
export type Pod = z.output<typeof pod>;
