// What both TypeScript servers offer. Each SDK hands in its own way to report and to be cancelled.

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

let cancels = 0; // of this process

/**
 * Register tools, a resource and a prompt.
 * `contextOf` turns an SDK's handler context into `{ signal, token, notify }`.
 */
export function register(server, contextOf) {
  const tool = (name, shape, answer) =>
    server.registerTool(
      name,
      { description: name, inputSchema: z.object(shape) },
      async (given, context) => text(await answer(given, contextOf(context))),
    );

  tool('echo', { text: z.string() }, (given) => given.text);
  tool('add', { a: z.number(), b: z.number() }, ({ a, b }) => a + b);
  tool('slow', { seconds: z.number() }, ({ seconds }, { signal }) =>
    sleep(seconds, signal, () => (cancels += 1)),
  );
  tool('cancelled', {}, () => cancels);
  tool('progress', { steps: z.number() }, async ({ steps }, { token, notify }) => {
    for (let step = 1; step <= steps && token !== undefined; step += 1) {
      const params = { progressToken: token, progress: step, total: steps, message: `step ${step}` };
      await notify({ method: 'notifications/progress', params });
    }
    return 'done';
  });
  tool('fail', {}, () => {
    throw new Error('failed on purpose');
  });
  tool('big', { bytes: z.number() }, ({ bytes }) => 'x'.repeat(bytes));

  server.registerResource('hello', 'test://hello', { mimeType: 'text/plain' }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'hello' }],
  }));
  return server;
}

/** The messages of the prompt `greet`. */
export const greeting = ({ name }) => ({
  messages: [{ role: 'user', content: { type: 'text', text: `Greet ${name}.` } }],
});
