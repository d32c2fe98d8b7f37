// A worker in JavaScript, written against docs/protocol.md alone. A pool starts it: see README.md.
import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { decode, encode } from './msgpack.mjs';

const methods = new Map(Object.entries({
  echo: (params) => params,
  sum: (params) => (params.get?.('numbers') ?? params).reduce((a, b) => a + b, 0),
  word_count: async (params) => (await readFile(params.get('path'), 'utf8')).split(/\s+/).filter(Boolean).length,
  fail: () => { throw new Error('this method always fails'); },
  sleep: (params) => new Promise((done) => setTimeout(done, 1000 * (params.get?.('seconds') ?? params))),
}));

function channel(variable) {
  const fd = Number(process.env[variable]);
  if (!fd) throw new Error(`${variable} holds no descriptor: workers are started by a pool`);
  return new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
}

function check(length, limit = Number(process.env.FOLK_MAX_FRAME || 16 * 1024 * 1024)) {
  if (length > 0 && length <= limit) return length;
  throw new RangeError(`a frame of ${length} bytes; the limit is ${limit}`);
}

async function* frames(stream) {
  let [chunks, missing] = [[], 4];
  for await (const chunk of stream) {
    if (chunks.push(chunk) && (missing -= chunk.length) > 0) continue;
    let [data, end] = [Buffer.concat(chunks), 4];
    while (data.length >= (end = data.length < 4 ? 4 : 4 + check(data.readUInt32BE()))) {
      yield data.subarray(4, end);
      data = data.subarray(end);
    }
    [chunks, missing] = [[data], end - data.length];
  }
  if (chunks.some((chunk) => chunk.length)) throw new Error('the channel ended inside a frame');
}

function writeFrame(stream, message) {
  const frame = Buffer.concat([Buffer.alloc(4), encode(message)]);
  frame.writeUInt32BE(check(frame.length - 4));
  return new Promise((done) => stream.write(frame, done));
}

const [task, control] = [channel('FOLK_TASK_FD'), channel('FOLK_CONTROL_FD')];
control.on('end', () => process.kill(0, 'SIGKILL')).resume(); // the pool is gone: so are we, and our children
await writeFrame(control, [2, 'control.ready', { pid: process.pid }]);
for await (const frame of frames(task)) {
  const [kind, msgid, method, params] = decode(frame);
  if (kind !== 0) continue; // a Notify, which nobody answers
  const answer = (error, result = null) => writeFrame(task, [1, msgid, error, result]);
  try {
    if (methods.has(method)) await answer(null, await methods.get(method)(params));
    else await answer({ code: -32601, message: `method not found: ${method}` });
  } catch (e) {
    await answer({ code: -32603, message: e.message, data: { type: e.name, traceback: e.stack } });
  }
}
process.exit(0);
