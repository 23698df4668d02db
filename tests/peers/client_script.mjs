// The script that both TypeScript clients play, and the one line they print.

import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const BIG_BYTES = 300_000;
const STEPS = 5;
const MODERN = '2026-07-28';

const textOf = (result) => result.content[0].text;

/** Read our options, and the server's command after `--`. */
export function options() {
  const cut = process.argv.indexOf('--');
  const { values } = parseArgs({
    args: process.argv.slice(2, cut),
    options: {
      mode: { type: 'string', default: 'auto' },
      call: { type: 'string' },
      arguments: { type: 'string', default: '{}' },
    },
  });
  const [command, ...args] = process.argv.slice(cut + 1);
  return { ...values, modern: MODERN, server: { command, args, env: { ...process.env }, stderr: 'inherit' } };
}

async function failure(client) {
  const result = await client.callTool({ name: 'fail', arguments: {} });
  return result.isError ? textOf(result) : null;
}

async function cancelSlow(client) {
  const abort = new AbortController();
  const call = client.callTool({ name: 'slow', arguments: { seconds: 30 } }, undefined, {
    signal: abort.signal,
  });
  const refused = call.then(() => false, () => true);
  await pause(200);
  abort.abort('no longer wanted');
  return refused;
}

async function noticed(client) {
  for (let round = 0; round < 50; round += 1) {
    if (Number(textOf(await client.callTool({ name: 'cancelled', arguments: {} }))) > 0) return true;
    await pause(50);
  }
  return false;
}

/** Count progress as it arrives: both SDKs lose the callback of one read together with its answer. */
function countProgress(transport) {
  const counted = { reports: 0 };
  const deliver = transport.onmessage;
  transport.onmessage = (message, extra) => {
    if (message.method === 'notifications/progress') counted.reports += 1;
    deliver(message, extra);
  };
  return counted;
}

async function script(client) {
  const counted = countProgress(client.transport);
  const text = async (name, args, more) =>
    textOf(await client.callTool({ name, arguments: args }, undefined, more));
  return {
    echo: await text('echo', { text: 'grüße 🌍' }),
    add: await text('add', { a: 2, b: 3 }),
    progressed: await text('progress', { steps: STEPS }, { onprogress: () => {} }),
    progress: counted.reports,
    failed: await failure(client),
    resource: (await client.readResource({ uri: 'test://hello' })).contents[0].text,
    prompt: (await client.getPrompt({ name: 'greet', arguments: { name: 'Ann' } })).messages[0]
      .content.text,
    big: (await text('big', { bytes: BIG_BYTES })).length,
    cancelled: await cancelSlow(client),
    noticed: await noticed(client),
  };
}

async function singleCall(client, { call, arguments: given }) {
  const result = await client.callTool({ name: call, arguments: JSON.parse(given) });
  return { text: textOf(result), is_error: result.isError ?? false };
}

/** Play the script with a connected client, and print what it found. */
export async function play(client, protocol, given) {
  const { tools } = await client.listTools();
  const found = {
    protocol,
    server: client.getServerVersion()?.name ?? null,
    tools: tools.map((tool) => tool.name).sort(),
    ...(given.call ? await singleCall(client, given) : await script(client)),
  };
  await client.close();
  console.log(JSON.stringify(found));
}
