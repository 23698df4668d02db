// A client by the TypeScript SDK v1. It knows the legacy era only, so `--mode` says nothing to it.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

import { options, play } from './client_script.mjs';

const given = options();
const transport = new StdioClientTransport(given.server);
let protocol;
transport.setProtocolVersion = (version) => (protocol = version);
const client = new Client({ name: 'peer-ts1', version: '1.0.0' });
await client.connect(transport);
await play(client, protocol, given);
