import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Context,
  type Span as OtelSpan,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TracerProvider,
  type TracerProviderOptions,
} from '@opentelemetry/sdk-trace';
import type { Span } from '../functions/span.ts';
import manifest from '../package.json' with { type: 'json' };

export type Tracer = {
  /** Begins the span of a request, within the one that its traceparent names. */
  request(request: IncomingMessage): Span;
  /** Sends what is left. */
  close(): Promise<void>;
};

/**
 * Sends traces by OTLP over HTTP. Spans are handed on by argument, from the request to the operation to each round trip: no context
 * follows the callbacks, which would cost every request, traced or not.
 *
 * @param endpoint the base of the receiver's address: `/v1/traces` is added.
 */
export function openTracer(endpoint: string, serviceName: string): Tracer {
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces` });
  const provider = new TracerProvider({
    resource: resourceOf(serviceName),
    spanProcessors: [new BatchSpanProcessor({ exporter, scheduledDelayMillis: 1000 })],
    spanLimits: { attributeValueLengthLimit: 8192 },
    // Who sends a traceparent decides; what begins here is traced.
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
  });
  const tracer = provider.getTracer(serviceName, manifest.version);

  function spanOf(span: OtelSpan, parent: Context): Span {
    const own = trace.setSpan(parent, span);
    return {
      child: (name, attributes = {}) =>
        spanOf(
          tracer.startSpan(name, { attributes, kind: name === 'postgres' ? SpanKind.CLIENT : SpanKind.INTERNAL }, own),
          own,
        ),
      note: (attributes) => void span.setAttributes(attributes),
      end(error) {
        if (error !== undefined) {
          span.setStatus({ code: SpanStatusCode.ERROR });
          span.setAttribute('error.type', typeOf(error));
        }
        span.end();
      },
    };
  }

  return {
    request(request) {
      const parent = parentOf(request.headers.traceparent);
      const path = (request.url ?? '/').split('?', 1)[0] as string;
      const attributes = { 'http.request.method': request.method ?? '', 'url.path': path };
      const kind = SpanKind.SERVER;
      return spanOf(tracer.startSpan(`${request.method} ${path}`, { kind, attributes }, parent), parent);
    },
    // A receiver that does not answer holds nobody up.
    close: () => Promise.race([provider.shutdown().catch(() => {}), delay(2000, undefined, { ref: false })]),
  };
}

/** What the spans come from. (The library's own maker of these is in a package that brings detectors of hosts and clouds.) */
function resourceOf(serviceName: string): NonNullable<TracerProviderOptions['resource']> {
  const attributes = {
    'service.name': serviceName,
    'service.version': manifest.version,
    'telemetry.sdk.language': 'nodejs',
    'telemetry.sdk.name': 'opentelemetry',
  };
  return {
    attributes,
    merge: (other) => other ?? resourceOf(serviceName),
    getRawAttributes: () => Object.entries(attributes),
  };
}

/** The code of an error, as Postgres or GraphQL tells it; its message may hold what someone wrote. */
function typeOf(error: unknown): string {
  if (typeof error === 'number') return `${error}`;
  const [first] = [error].flat() as [{ code?: string; extensions?: { code?: string }; name?: string } | undefined];
  return first?.code ?? first?.extensions?.code ?? first?.name ?? 'error';
}

/** W3C Trace Context. What is not well formed begins a trace of its own. */
function parentOf(header: string | string[] | undefined): Context {
  const [, traceId, spanId, flags] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(String(header)) ?? [];
  if (!traceId || !spanId || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags as string, 16) & TraceFlags.SAMPLED;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}
