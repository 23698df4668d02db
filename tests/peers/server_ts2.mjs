// A small MCP server on stdio, by the TypeScript SDK v2: it serves both eras.

import { inputRequired, inputResponse, McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import * as z from 'zod';

import { greeting, person, register, thought } from './server_tools.mjs';

/** Return what was answered, or the result that asks: the SDK asks in the caller's era. */
function ask(responses, what, request, answerOf) {
  const answered = inputResponse(responses, 'asked');
  if (answered.kind === 'missing') return inputRequired({ inputRequests: { asked: request } });
  return { text: what.text(answerOf(answered)) };
}

const contextOf = ({ mcpReq }) => ({
  signal: mcpReq.signal,
  token: mcpReq._meta?.progressToken,
  notify: (notification) => mcpReq.notify(notification),
  askUser: (question) => {
    const request = inputRequired.elicit(person.params(question));
    return ask(mcpReq.inputResponses, person, request, (answered) => answered);
  },
  askModel: (question) => {
    const request = inputRequired.createMessage(thought.params(question));
    return ask(mcpReq.inputResponses, thought, request, (answered) => answered.result);
  },
});

serveStdio(({ era }) => {
  const mcp = new McpServer({ name: 'peer-ts2', version: '1.0.0' });
  const subscribed = new Set();
  mcp.server.registerCapabilities({ resources: { subscribe: true } });
  mcp.server.setRequestHandler('resources/subscribe', ({ params }) => {
    subscribed.add(params.uri);
    return {};
  });
  const touch = async (uri) =>
    (era === 'modern' || subscribed.has(uri)) && mcp.server.sendResourceUpdated({ uri });
  register(mcp, contextOf, touch);
  mcp.registerPrompt('greet', { argsSchema: z.object({ name: z.string() }) }, greeting);
  return mcp;
});
