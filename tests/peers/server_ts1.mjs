// A small MCP server on stdio, by the TypeScript SDK v1.

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { SubscribeRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import * as z from 'zod';

import { greeting, person, register, thought } from './server_tools.mjs';

const mcp = new McpServer({ name: 'peer-ts1', version: '1.0.0' });
const subscribed = new Set();
mcp.server.registerCapabilities({ resources: { subscribe: true } });
mcp.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
  subscribed.add(params.uri);
  return {};
});

const contextOf = (extra) => ({
  signal: extra.signal,
  token: extra._meta?.progressToken,
  notify: (notification) => extra.sendNotification(notification),
  askUser: async (question) => ({
    text: person.text(await mcp.server.elicitInput(person.params(question))),
  }),
  askModel: async (question) => ({
    text: thought.text(await mcp.server.createMessage(thought.params(question))),
  }),
});
const touch = async (uri) => subscribed.has(uri) && mcp.server.sendResourceUpdated({ uri });

register(mcp, contextOf, touch);
mcp.registerPrompt('greet', { argsSchema: { name: z.string() } }, greeting);
process.stdin.on('end', () => process.exit(0));
await mcp.connect(new StdioServerTransport());
