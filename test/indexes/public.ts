import type { Section } from './section.ts';

export const publicSchema: Section = {
  uses: {
    'public.schema_versions_pkey': null,
    'public.error_codes_pkey': null,
  },
  rows: '',
};
