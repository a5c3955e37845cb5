// Runs the model of this package in a browser: ONNX Runtime (wasm) or LiteRT.js. See README.md.
//
// Tensors are { data, dims }: a typed array in C order and its shape, in the names, layouts and types of the
// model that was trained, whatever the file's own are.

import { preprocess } from "./preprocess.js";
import { specification } from "./specification.js";
import { arrayOf, dequantized, quantized, sizeOf, transposed } from "./tensors.js";

export { preprocess, specification };

/** The model on ONNX Runtime. `ort`: the module, by default "onnxruntime-web/wasm"; `threads`: 1 by default. */
export async function loadOnnxRuntime({ ort, threads = 1 } = {}) {
  const spec = held("onnxruntime");
  const runtime = ort ?? (await import("onnxruntime-web/wasm"));
  runtime.env.wasm.numThreads = threads;
  const bytes = await checkedBytes(spec.files[0]);
  const session = await runtime.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const call = async (given) => {
    const feeds = {};
    for (const [name, each] of Object.entries(given)) {
      feeds[name] = new runtime.Tensor(each.dtype, each.data, each.dims);
    }
    const found = await session.run(feeds);
    return Object.fromEntries(Object.entries(found).map(([name, t]) => [name, { data: t.data, dims: [...t.dims] }]));
  };
  return new Model(spec, call, () => session.release());
}

/** The model on LiteRT.js. `wasm`: where @litertjs/core/wasm/ is served; `litert`: the module. */
export async function loadLiteRt({ litert, wasm = "/node_modules/@litertjs/core/wasm/", accelerator = "wasm" } = {}) {
  const spec = held("litert");
  const runtime = litert ?? (await import("@litertjs/core"));
  const bytes = await checkedBytes(spec.files[0]);
  loaded ??= runtime.loadLiteRt(wasm);
  await loaded;
  const model = await runtime.loadAndCompile(bytes, { accelerator });
  const takes = ordered(model.getInputDetails(), spec.inputs);
  const gives = ordered(model.getOutputDetails(), spec.outputs);
  const call = async (given) => {
    const tensors = takes.map((name) => new runtime.Tensor(given[name].data, given[name].dims));
    const found = await model.run(tensors);
    tensors.forEach((each) => each.delete());
    const outputs = {};
    for (let index = 0; index < found.length; index += 1) {
      const data = (await found[index].data()).slice();
      outputs[gives[index]] = { data, dims: [...found[index].type.layout.dimensions] };
      found[index].delete();
    }
    return outputs;
  };
  // LiteRT.js does not resize: a free batch is run sample by sample
  return new Model(spec, call, () => model.delete(), 1);
}

let loaded; // LiteRT.js is loaded once in a page

/** An opened model. */
class Model {
  #call;
  #batch;
  #close;

  constructor(spec, call, close, batch = null) {
    this.specification = spec;
    this.#call = call;
    this.#close = close;
    const first = spec.inputs.map((each) => each.shape[0]).find((size) => typeof size === "number");
    this.#batch = first ?? batch;
  }

  /** Tensors by input name -> tensors by output name; batches that the file does not take are cut into ones that it does. */
  async run(inputs) {
    const whole = Object.fromEntries(
      this.specification.inputs.map((each) => [each.reference.name, inputs[each.reference.name]]),
    );
    for (const [name, tensor] of Object.entries(whole)) {
      if (!tensor) throw new Error(`input ${JSON.stringify(name)} is missing`);
      if (tensor.data.length !== sizeOf(tensor.dims)) {
        throw new Error(`input ${JSON.stringify(name)} has ${tensor.data.length} elements, and dims ${tensor.dims}`);
      }
    }
    const total = Math.max(1, ...Object.values(whole).map((each) => each.dims[0] ?? 1));
    const step = this.#batch ?? total;
    if (step === total) return this.#once(whole);
    const parts = [];
    for (let at = 0; at < total; at += step) {
      const cut = Object.entries(whole).map(([name, each]) => [name, rows(each, at, at + step)]);
      parts.push(await this.#once(Object.fromEntries(cut)));
    }
    return Object.fromEntries(Object.keys(parts[0]).map((name) => [name, joined(parts.map((part) => part[name]))]));
  }

  async #once(whole) {
    const given = {};
    for (const each of this.specification.inputs) {
      let tensor = transposed(whole[each.reference.name], each.permutation);
      if (each.quant) tensor = quantized(tensor, each);
      given[each.name] = { dtype: each.dtype, data: arrayOf(each.dtype, tensor.data), dims: tensor.dims };
    }
    const found = await this.#call(given);
    const outputs = {};
    for (const each of this.specification.outputs) {
      let tensor = found[each.name];
      if (each.quant) tensor = dequantized(tensor, each);
      const back = each.permutation.map((_, axis) => each.permutation.indexOf(axis));
      tensor = transposed(tensor, back);
      outputs[each.reference.name] = { data: arrayOf(each.reference.dtype, tensor.data), dims: tensor.dims };
    }
    return outputs;
  }

  /** Free the runtime's memory. */
  close() {
    return this.#close();
  }
}

/** Golden vectors, from the raw sample on: one row for each output, with its distance from the release. */
export async function selfTest(model) {
  const spec = model.specification;
  const inputs = {};
  for (const each of specification.golden.raw) {
    const raw = await golden(each);
    const samples = Array.from({ length: each.shape[0] }, (_, at) => {
      const sample = rows(raw, at, at + 1);
      return preprocess({ data: sample.data, dims: sample.dims.slice(1) }, stepsOf(spec, each.name));
    });
    inputs[each.name] = joined(samples.map((sample) => ({ data: sample.data, dims: [1, ...sample.dims] })));
  }
  const found = await model.run(inputs);
  const rowsOut = [];
  for (const each of specification.golden.outputs[spec.backend]) {
    rowsOut.push(compared(each, found[each.name], await golden(each), spec));
  }
  return rowsOut;
}

function compared(each, found, wanted, spec) {
  const step = spec.output_steps[each.name];
  const values = Array.from(wanted.data, Number);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const unit = step || high - low || Math.abs(high) || 1;
  const allowed = step ? spec.tolerance.steps : spec.tolerance.relative_to_range;
  const row = { output: each.name, allowed, unit: step ? "steps" : "of its range", difference: NaN, ok: false };
  if (String(found.dims) !== String(wanted.dims) || !values.length) return row;
  row.difference = values.reduce((worst, value, at) => {
    const gap = Math.abs(Number(found.data[at]) - value) / unit;
    return gap <= worst ? worst : gap; // NaN wins
  }, 0);
  row.ok = row.difference <= allowed;
  return row;
}

function held(backend) {
  const spec = specification.artifacts[backend];
  if (!spec) throw new Error(`this package holds no artifact for ${backend}: ${specification.missing[backend]}`);
  return spec;
}

function stepsOf(spec, name) {
  return spec.processing.inputs.find((each) => each.name === name)?.steps ?? [];
}

/** The names of the bindings in the order of the runtime's details: by name, else by place. */
function ordered(details, bindings) {
  const byName = details.map((detail) =>
    bindings.find((each) => each.name === detail.name || each.reference.name === detail.name),
  );
  return (byName.includes(undefined) ? bindings : byName).map((each) => each.name);
}

function rows(tensor, from, to) {
  const width = sizeOf(tensor.dims.slice(1));
  return { data: tensor.data.slice(from * width, to * width), dims: [to - from, ...tensor.dims.slice(1)] };
}

function joined(parts) {
  const size = parts.reduce((sum, each) => sum + each.data.length, 0);
  const data = new parts[0].data.constructor(size);
  let at = 0;
  for (const each of parts) {
    data.set(each.data, at);
    at += each.data.length;
  }
  return { data, dims: [parts.reduce((sum, each) => sum + each.dims[0], 0), ...parts[0].dims.slice(1)] };
}

async function golden(entry) {
  const bytes = await checkedBytes(entry);
  return { data: arrayOf(entry.dtype, bytes.buffer), dims: entry.shape };
}

/** Content of a file of this package; one whose SHA-256 is not the released one is refused. */
async function checkedBytes(entry) {
  const bytes = await bytesAt(new URL(entry.path, import.meta.url));
  if (!globalThis.crypto?.subtle) throw new Error("no Web Crypto here: serve the page over https, or from localhost");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== entry.sha256) throw new Error(`${entry.path} is damaged: sha256 ${hex} instead of ${entry.sha256}`);
  return bytes;
}

async function bytesAt(url) {
  if (url.protocol === "file:") {
    const module = "node:fs/promises"; // Node only; no bundler looks for it
    const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ module);
    return new Uint8Array(await readFile(url));
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be loaded: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
