// node:http, as this process has it. An `import` of it would first make all that it exports, and with that load its
// WebSocket and HTTP/2 too: 50 ms of each start.
const { Agent, request } = process.getBuiltinModule("node:http");

export { Agent, request };
