// The script that both TypeScript clients play, and the one line they print.

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const STEPS = 5;
const PATIENCE = 10_000;
const MODERN = '2026-07-28';

/** What both clients say that they can be asked. */
export const CAPABILITIES = { elicitation: {}, sampling: {} };

const textOf = (result) => result.content[0].text;

/** Read our options, and the server's command after `--`. */
export function options() {
  const cut = process.argv.indexOf('--');
  const { values } = parseArgs({
    args: process.argv.slice(2, cut),
    options: {
      mode: { type: 'string', default: 'auto' },
      over: { type: 'string', default: 'stdio' },
      big: { type: 'string', default: '2000000' },
      call: { type: 'string' },
      arguments: { type: 'string', default: '{}' },
    },
  });
  const [command, ...args] = process.argv.slice(cut + 1);
  return { ...values, modern: MODERN, server: { command, args, env: { ...process.env }, stderr: 'inherit' } };
}

/** Return the transport that the options ask for, of those that an SDK has: `stdio`, and more by a URL. */
export function transportOf({ over, server }, kinds) {
  const Kind = kinds[over];
  if (!Kind) throw new Error(`this SDK has no client of ${over}`);
  return new Kind(over === 'stdio' ? server : new URL(server.command));
}

/** What came in that no answer held, and the handlers that take it. */
export class Seen {
  asked = [];
  updated = [];
  changed = 0;
  #more = () => {};

  onElicit = ({ params }) => {
    this.asked.push(params.message);
    return { action: 'accept', content: { name: 'Änn' } };
  };

  onSample = ({ params }) => {
    const [{ content }] = params.messages;
    this.asked.push((Array.isArray(content) ? content[0] : content).text);
    return { role: 'assistant', content: { type: 'text', text: 'forty-two' }, model: 'peer' };
  };

  onUpdated = ({ params }) => {
    this.updated.push(params.uri);
    this.#more();
  };

  onChanged = () => {
    this.changed += 1;
    this.#more();
  };

  /** Wait until it has happened; return whether it has. */
  async wait(happened) {
    const abort = new AbortController();
    const bound = pause(PATIENCE, undefined, { signal: abort.signal }).catch(() => {});
    let late = false;
    bound.then(() => (late = true));
    while (!happened() && !late) {
      await Promise.race([bound, new Promise((resolve) => (this.#more = resolve))]);
    }
    abort.abort();
    return happened();
  }
}

async function failure(client) {
  const result = await client.callTool({ name: 'fail', arguments: {} });
  return result.isError ? textOf(result) : null;
}

/** Return the code of the error that reading an unknown resource is answered with. */
const refusal = (client) =>
  client.readResource({ uri: 'test://missing' }).then(() => null, (error) => error.code);

async function cancelSlow(client, key) {
  const abort = new AbortController();
  const bound = setTimeout(() => abort.abort('it does not run'), PATIENCE);
  const cancel = () => abort.abort('no longer wanted');
  const call = client.callTool({ name: 'slow', arguments: { seconds: 30, key } }, undefined, {
    signal: abort.signal,
    onprogress: cancel,
  });
  const refused = await call.then(() => false, () => true);
  clearTimeout(bound);
  return refused && abort.signal.reason === 'no longer wanted';
}

async function noticed(client, key) {
  for (let round = 0; round < 100; round += 1) {
    const count = await client.callTool({ name: 'cancelled', arguments: { key } });
    if (Number(textOf(count)) > 0) return true;
    await pause(50);
  }
  return false;
}

const names = async (client) => (await client.listTools()).tools.map((tool) => tool.name).sort();

/**
 * Gather what the SDKs hide: progress as it arrives, as both lose the callback of one read together with its answer,
 * and the answers to calls that were cancelled.
 */
function gather(transport) {
  const gathered = { progress: [], late: 0 };
  const cancelled = new Set();
  const deliver = transport.onmessage;
  const send = transport.send.bind(transport);
  transport.send = (message, more) => {
    if (message.method === 'notifications/cancelled') cancelled.add(message.params.requestId);
    return send(message, more);
  };
  transport.onmessage = (message, extra) => {
    if (message.method === 'notifications/progress') gathered.progress.push(message.params.progress);
    if (!message.method && cancelled.has(message.id)) gathered.late += 1;
    deliver(message, extra);
  };
  return gathered;
}

/** Subscribe, have something changed, and return what came of it. */
async function changes({ client, seen, watch }, text, key) {
  const [uri, tool] = [`test://note/${key}`, `grown_${key}`];
  await watch(uri);
  await text('touch', { uri });
  const updated = await seen.wait(() => seen.updated.includes(uri));
  await text('grow', { name: tool });
  const changed = await seen.wait(() => seen.changed > 0);
  return { updated, changed, grown: (await names(client)).includes(tool) };
}

/** Be asked by two tools, and return what they made of it. */
async function answers({ seen }, text) {
  return {
    elicited: await text('ask_user', { question: 'Who?' }),
    sampled: await text('ask_model', { question: 'Why?' }),
    asked: seen.asked,
  };
}

async function script(peer, { big }) {
  const { client } = peer;
  const gathered = gather(client.transport);
  const key = randomUUID().slice(0, 12);
  const text = async (name, args, more) =>
    textOf(await client.callTool({ name, arguments: args }, undefined, more));
  return {
    echo: await text('echo', { text: 'grüße 🌍' }),
    add: await text('add', { a: 2, b: 3 }),
    progressed: await text('progress', { steps: STEPS }, { onprogress: () => {} }),
    progress: [...gathered.progress],
    failed: await failure(client),
    refused: await refusal(client),
    resource: (await client.readResource({ uri: 'test://hello' })).contents[0].text,
    prompt: (await client.getPrompt({ name: 'greet', arguments: { name: 'Ann' } })).messages[0]
      .content.text,
    big: (await text('big', { bytes: Number(big) })).length,
    cancelled: await cancelSlow(client, key),
    noticed: await noticed(client, key),
    ...(await answers(peer, text)),
    ...(await changes(peer, text, key)),
    late: gathered.late,
  };
}

async function singleCall(client, { call, arguments: given }) {
  const result = await client.callTool({ name: call, arguments: JSON.parse(given) });
  const texts = result.content.filter(({ type }) => type === 'text').map(({ text }) => text);
  return { text: texts.join('\n'), is_error: result.isError ?? false };
}

/** Play the script with a connected client, and print what it found. */
export async function play({ protocol, given, ...peer }) {
  const { client } = peer;
  const found = {
    protocol,
    server: client.getServerVersion()?.name ?? null,
    tools: (await names(client)).filter((name) => !name.startsWith('grown_')),
    ...(given.call ? await singleCall(client, given) : await script(peer, given)),
  };
  await client.close();
  console.log(JSON.stringify(found));
}
