// A client by the TypeScript SDK v2, in the era that `--mode` asks for.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { CAPABILITIES, options, play, Seen, transportOf } from './client_script.mjs';

const given = options();
const mode = given.mode === 'modern' ? { pin: given.modern } : given.mode;
const seen = new Seen();
const client = new Client(
  { name: 'peer-ts2', version: '1.0.0' },
  { capabilities: CAPABILITIES, versionNegotiation: { mode } },
);
client.setRequestHandler('elicitation/create', seen.onElicit);
client.setRequestHandler('sampling/createMessage', seen.onSample);
client.setNotificationHandler('notifications/resources/updated', seen.onUpdated);
client.setNotificationHandler('notifications/tools/list_changed', seen.onChanged);

await client.connect(
  transportOf(given, {
    stdio: StdioClientTransport,
    http: StreamableHTTPClientTransport,
    sse: SSEClientTransport,
  }),
);
const protocol = client.getNegotiatedProtocolVersion();
const watch = (uri) =>
  protocol === given.modern
    ? client.listen({ toolsListChanged: true, resourceSubscriptions: [uri] })
    : client.subscribeResource({ uri });
const callTool = client.callTool.bind(client);
client.callTool = (params, _schema, more) => callTool(params, more); // v1 had a schema in between
await play({ client, protocol, given, seen, watch });
