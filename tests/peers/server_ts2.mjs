// A small MCP server on stdio, by the TypeScript SDK v2: it serves both eras.

import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import * as z from 'zod';

import { greeting, register } from './server_tools.mjs';

serveStdio(() => {
  const server = register(new McpServer({ name: 'peer-ts2', version: '1.0.0' }), ({ mcpReq }) => ({
    signal: mcpReq.signal,
    token: mcpReq._meta?.progressToken,
    notify: (notification) => mcpReq.notify(notification),
  }));
  server.registerPrompt('greet', { argsSchema: z.object({ name: z.string() }) }, greeting);
  return server;
});
