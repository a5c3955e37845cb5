// Raw sample -> model input, without the batch axis: the steps of the specification, in float32 arithmetic.
// resize: half-pixel centres, edges clamped, no antialiasing.

import { arrayOf, transposed } from "./tensors.js";

const f = Math.fround;

/** Run `steps` over one sample { data, dims } of dims [H, W], [H, W, C], or what the steps accept. */
export function preprocess(sample, steps) {
  return steps.reduce((tensor, step) => OPERATIONS[step.op](tensor, step), sample);
}

const OPERATIONS = {
  resize(tensor, step) {
    const found = image(tensor);
    return step.size.reduce((each, size, axis) => resized(each, axis, size, step.method), {
      data: Float32Array.from(found.data, Number),
      dims: found.dims,
    });
  },
  scale(tensor, step) {
    const by = f(step.by);
    return { data: Float32Array.from(tensor.data, (x) => f(Number(x)) * by), dims: tensor.dims };
  },
  normalize(tensor, step) {
    const channels = tensor.dims[tensor.dims.length - 1];
    const of = (values, at) => f(values[values.length === 1 ? 0 : at % channels]);
    const data = Float32Array.from(tensor.data, (x, at) => f(f(Number(x)) - of(step.mean, at)) / of(step.std, at));
    return { data, dims: tensor.dims };
  },
  layout(tensor, step) {
    const found = image(tensor);
    return step.to === "NCHW" ? transposed(found, [2, 0, 1]) : found;
  },
  bytes(tensor) {
    return { data: Uint8Array.from(tensor.data, (x) => evenly(Math.min(Math.max(Number(x), 0), 255))), dims: tensor.dims };
  },
  cast(tensor, step) {
    const integer = step.dtype !== "float32";
    const values = Array.from(tensor.data, (x) => (integer ? Math.trunc(Number(x)) : Number(x)));
    return { data: arrayOf(step.dtype, step.dtype === "int64" ? values.map(BigInt) : values), dims: tensor.dims };
  },
};

/** Rounded half to even. */
function evenly(x) {
  const down = Math.floor(x);
  return x - down === 0.5 ? down + (down % 2) : Math.round(x);
}

function image({ data, dims }) {
  if (dims.length !== 2 && dims.length !== 3) throw new Error(`an image has 2 or 3 axes, not ${dims.length}`);
  return { data, dims: dims.length === 2 ? [...dims, 1] : dims };
}

function resized({ data, dims }, axis, size, method) {
  const old = dims[axis];
  const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = dims.slice(0, axis).reduce((a, b) => a * b, 1);
  const out = new Float32Array(outer * size * inner);
  const clamp = (index) => Math.min(Math.max(index, 0), old - 1);
  for (let at = 0; at < size; at += 1) {
    const centre = (at + 0.5) * (old / size) - 0.5;
    const low = method === "nearest" ? Math.ceil(centre - 0.5) : Math.floor(centre);
    const weight = method === "nearest" ? 0 : f(centre - low);
    const [below, above] = [clamp(low), clamp(low + 1)];
    for (let o = 0; o < outer; o += 1) {
      for (let i = 0; i < inner; i += 1) {
        const [a, b] = [data[(o * old + below) * inner + i], data[(o * old + above) * inner + i]];
        const mixed = f(a * f(1 - weight)) + f(b * weight);
        out[(o * size + at) * inner + i] = method === "nearest" ? a : mixed;
      }
    }
  }
  return { data: out, dims: dims.map((each, at) => (at === axis ? size : each)) };
}
