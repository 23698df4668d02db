// A small MCP server on stdio, by the TypeScript SDK v1.

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import * as z from 'zod';

import { greeting, register } from './server_tools.mjs';

const server = register(new McpServer({ name: 'peer-ts1', version: '1.0.0' }), (extra) => ({
  signal: extra.signal,
  token: extra._meta?.progressToken,
  notify: (notification) => extra.sendNotification(notification),
}));
server.registerPrompt('greet', { argsSchema: { name: z.string() } }, greeting);
process.stdin.on('end', () => process.exit(0));
await server.connect(new StdioServerTransport());
