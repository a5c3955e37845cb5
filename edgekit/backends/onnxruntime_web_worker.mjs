// Requests on stdin -> onnxruntime-web in this Node -> replies on stdout; edgekit/backends/node_process.py is the other end.
//
//     frame = 4 bytes of length, big-endian, then UTF-8 JSON; behind it the bytes of the arrays that it names, in order
//     {op: "ready"}                                  -> {}: the package is loaded
//     {op: "open", path, threads, level, session}   -> {runtime: {...}}
//     {op: "bind", arrays: [{name, dtype, shape, bytes}]}   -> {}
//     {op: "invoke"}                                 -> {ns}
//     {op: "fetch"}                                  -> {arrays: [...]}
//     anything that throws                           -> {error}
//
// node onnxruntime_web_worker.mjs FOLDER: the folder that holds node_modules/onnxruntime-web.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { Console } from "node:console";
import path from "node:path";
import process from "node:process";

globalThis.console = new Console(process.stderr, process.stderr); // stdout carries frames only

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int8: Int8Array, uint8: Uint8Array,
  int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array,
  uint64: BigUint64Array, bool: Uint8Array,
};

const ort = createRequire(path.join(process.argv[2], "package.json"))("onnxruntime-web");

let session = null;
let feeds = {};
let results = {};

async function* pieces() {
  for await (const chunk of process.stdin) yield chunk;
}

const stream = pieces();
let held = Buffer.alloc(0);

/** Exactly `size` bytes in memory of their own; null where the other end has closed the pipe. */
async function take(size) {
  const parts = [held];
  let have = held.length;
  while (have < size) {
    const { value, done } = await stream.next();
    if (done) return null;
    parts.push(value);
    have += value.length;
  }
  const whole = parts.length === 1 ? held : Buffer.concat(parts);
  held = whole.subarray(size);
  return Buffer.from(whole.subarray(0, size)); // aligned, and nobody else's
}

function tensor({ name, dtype, shape, bytes }, content) {
  const Type = ARRAYS[dtype];
  if (!Type) throw new Error(`${name} is ${dtype}, and JavaScript has no such typed array`);
  const copy = new Uint8Array(bytes); // a buffer of its own begins at 0: every element type is aligned
  copy.set(content);
  return new ort.Tensor(dtype, new Type(copy.buffer), shape);
}

const operations = {
  async ready() {
    return {}; // the package is loaded: it is, where this can answer
  },
  async open({ path: file, threads, level, session: entries }) {
    ort.env.wasm.numThreads = threads;
    session = await ort.InferenceSession.create(new Uint8Array(await readFile(file)), {
      executionProviders: ["wasm"],
      graphOptimizationLevel: level,
      logSeverityLevel: 3,
      extra: { session: entries },
    });
    const found = { version: ort.env.versions.web, node: process.version, v8: process.versions.v8 };
    return { runtime: { ...found, threads: ort.env.wasm.numThreads } };
  },
  async bind({ arrays }, contents) {
    for (const old of Object.values(feeds)) old.dispose();
    feeds = Object.fromEntries(arrays.map((each, index) => [each.name, tensor(each, contents[index])]));
    return {};
  },
  async invoke() {
    for (const old of Object.values(results)) old.dispose();
    const begin = process.hrtime.bigint();
    results = await session.run(feeds);
    return { ns: Number(process.hrtime.bigint() - begin) };
  },
  async fetch() {
    const arrays = [];
    const contents = [];
    for (const [name, value] of Object.entries(results)) {
      const { buffer, byteOffset, byteLength } = value.data;
      contents.push(Buffer.from(buffer, byteOffset, byteLength));
      arrays.push({ name, dtype: value.type, shape: [...value.dims], bytes: byteLength });
    }
    return { arrays, contents };
  },
};

function send({ contents = [], ...header }) {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  for (const part of [length, text, ...contents]) process.stdout.write(part);
}

for (;;) {
  const length = await take(4);
  if (length === null) break;
  const text = await take(length.readUInt32BE());
  if (text === null) break;
  const message = JSON.parse(text.toString());
  const contents = [];
  for (const each of message.arrays ?? []) contents.push(await take(each.bytes));
  try {
    send(await operations[message.op](message, contents));
  } catch (error) {
    console.error(error);
    send({ error: String(error?.message ?? error) });
  }
}
process.exit(0); // pool threads would keep it alive
