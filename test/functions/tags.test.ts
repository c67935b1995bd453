import t from 'tap';
import { Refusal } from '../../functions/refusal.ts';
import { readComment } from '../../functions/tags.ts';

t.test('a comment is documentation and tags', async (t) => {
  t.same(readComment('What it is.\n\n@name other\n@notNull', 'function a.b()'), {
    description: 'What it is.',
    tags: { name: 'other', notNull: true },
  });
});

t.test('a tag that there is not names itself, and the one that may be meant', async (t) => {
  const refusal = (comment: string): Refusal => {
    try {
      readComment(comment, 'function a.b()');
    } catch (error) {
      if (error instanceof Refusal) return error;
    }
    throw new Error('It was expected to be refused.');
  };
  t.match(refusal('@notnull'), {
    message: /function a\.b\(\) .*: @notnull$/,
    remedy: /^Did you mean @notNull\? Tags are /,
  });
  t.match(refusal('@whatever'), { remedy: /^Tags are / });
  t.match(refusal('@name'), { remedy: /^Tags are @name …/ }, 'one without its value');
});
