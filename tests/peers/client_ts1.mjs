// A client by the TypeScript SDK v1. It knows the legacy era only, so `--mode` says nothing to it.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

import { CAPABILITIES, options, play, Seen, transportOf } from './client_script.mjs';

const given = options();
const transport = transportOf(given, {
  stdio: StdioClientTransport,
  http: StreamableHTTPClientTransport,
  sse: SSEClientTransport,
  ws: WebSocketClientTransport,
});
let protocol;
const learn = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  protocol = version;
  learn?.(version);
};
const seen = new Seen();
const client = new Client({ name: 'peer-ts1', version: '1.0.0' }, { capabilities: CAPABILITIES });
client.setRequestHandler(ElicitRequestSchema, seen.onElicit);
client.setRequestHandler(CreateMessageRequestSchema, seen.onSample);
client.setNotificationHandler(ResourceUpdatedNotificationSchema, seen.onUpdated);
client.setNotificationHandler(ToolListChangedNotificationSchema, seen.onChanged);
const watch = (uri) => client.subscribeResource({ uri });

await client.connect(transport);
await play({ client, protocol, given, seen, watch });
