// A client by the TypeScript SDK v2, in the era that `--mode` asks for.

import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { options, play } from './client_script.mjs';

const given = options();
const mode = given.mode === 'modern' ? { pin: given.modern } : given.mode;
const client = new Client({ name: 'peer-ts2', version: '1.0.0' }, { versionNegotiation: { mode } });
await client.connect(new StdioClientTransport(given.server));
const callTool = client.callTool.bind(client);
client.callTool = (params, _schema, more) => callTool(params, more); // v1 had a schema in between
await play(client, client.getNegotiatedProtocolVersion(), given);
