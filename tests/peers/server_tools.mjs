// What both TypeScript servers offer. Each SDK hands in its own way to report, to ask and to be cancelled.

import * as z from 'zod';

const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });

function sleep(seconds, signal, onCancel) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve('slept'), seconds * 1000);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      onCancel();
      reject(new Error('cancelled'));
    });
  });
}

async function report({ token, notify }, progress, total, message) {
  if (token === undefined) return;
  const params = { progressToken: token, progress, total, message };
  await notify({ method: 'notifications/progress', params });
}

const cancels = new Map(); // of this process, by key

/** What a tool asks the client's user, and how it reads the answer. */
export const person = {
  params: (question) => ({
    message: question,
    requestedSchema: {
      type: 'object',
      properties: { name: { type: 'string' } },
      required: ['name'],
    },
  }),
  text: ({ content }) => content.name,
};

/** What a tool asks the client's model, and how it reads the answer. */
export const thought = {
  params: (question) => ({
    messages: [{ role: 'user', content: { type: 'text', text: question } }],
    maxTokens: 10,
  }),
  text: ({ content }) => content.text,
};

/**
 * Register tools, a resource and a prompt.
 * `contextOf` turns an SDK's handler context into `{ signal, token, notify, askUser, askModel }`. The two last take a
 * question, and return an answer, or a whole result that asks for it. `touch` says that a resource has changed.
 */
export function register(server, contextOf, touch) {
  const tool = (name, shape, answer) =>
    server.registerTool(
      name,
      { description: name, inputSchema: z.object(shape) },
      async (given, context) => {
        const answered = await answer(given, contextOf(context));
        return answered?.resultType ? answered : text(answered);
      },
    );
  const asking = (name, way) =>
    tool(name, { question: z.string() }, async ({ question }, context) => {
      const answer = await context[way](question);
      return answer.resultType ? answer : `${question} ${answer.text}`;
    });

  tool('echo', { text: z.string() }, (given) => given.text);
  tool('add', { a: z.number(), b: z.number() }, ({ a, b }) => a + b);
  tool('slow', { seconds: z.number(), key: z.string().default('') }, async (given, context) => {
    await report(context, 0, 1, 'running');
    return sleep(given.seconds, context.signal, () =>
      cancels.set(given.key, (cancels.get(given.key) ?? 0) + 1),
    );
  });
  tool('cancelled', { key: z.string().default('') }, ({ key }) => cancels.get(key) ?? 0);
  tool('progress', { steps: z.number() }, async ({ steps }, context) => {
    for (let step = 1; step <= steps; step += 1) await report(context, step, steps, `step ${step}`);
    return 'done';
  });
  tool('fail', {}, () => {
    throw new Error('failed on purpose');
  });
  tool('big', { bytes: z.number() }, ({ bytes }) => 'x'.repeat(bytes));
  asking('ask_user', 'askUser');
  asking('ask_model', 'askModel');
  tool('touch', { uri: z.string() }, async ({ uri }) => {
    await touch(uri);
    return 'touched';
  });
  tool('grow', { name: z.string() }, ({ name }) => {
    server.registerTool(name, { description: name, inputSchema: z.object({}) }, () => text('grown'));
    return 'grown';
  });

  server.registerResource('hello', 'test://hello', { mimeType: 'text/plain' }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'hello' }],
  }));
  return server;
}

/** The messages of the prompt `greet`. */
export const greeting = ({ name }) => ({
  messages: [{ role: 'user', content: { type: 'text', text: `Greet ${name}.` } }],
});
