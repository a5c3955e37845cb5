// { data, dims } -> { data, dims }: permutation and affine quantization, as the bindings of the file say.

const ARRAYS = {
  bool: Uint8Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  float32: Float32Array,
  float64: Float64Array,
};
const ENDS = { int8: [-128, 127], uint8: [0, 255], int16: [-32768, 32767], uint16: [0, 65535] };

/** Number of elements of a shape. */
export const sizeOf = (dims) => dims.reduce((product, size) => product * size, 1);

/** Bytes or values as the typed array of a NumPy type. */
export function arrayOf(dtype, data) {
  const kind = ARRAYS[dtype];
  return data instanceof kind ? data : new kind(data);
}

/** Axis i of the result is axis permutation[i] of the tensor; [] = as it is. */
export function transposed(tensor, permutation) {
  if (permutation.every((axis, at) => axis === at)) return tensor;
  const { data, dims } = tensor;
  const strides = dims.map((_, axis) => sizeOf(dims.slice(axis + 1)));
  const to = permutation.map((axis) => dims[axis]);
  const step = permutation.map((axis) => strides[axis]);
  const out = new data.constructor(data.length);
  const index = to.map(() => 0);
  for (let at = 0, from = 0; at < out.length; at += 1) {
    out[at] = data[from];
    for (let axis = to.length - 1; axis >= 0; axis -= 1) {
      index[axis] += 1;
      from += step[axis];
      if (index[axis] < to[axis]) break;
      from -= step[axis] * to[axis];
      index[axis] = 0;
    }
  }
  return { data: out, dims: to };
}

/** clip(round_half_even(real / scale) + zero_point). */
export function quantized(tensor, binding) {
  const [scale, zero] = [Math.fround(binding.quant.scale[0]), binding.quant.zero_point[0]];
  const [low, high] = ENDS[binding.dtype];
  const data = arrayOf(binding.dtype, new ARRAYS[binding.dtype](tensor.data.length));
  tensor.data.forEach((real, at) => {
    const steps = halfToEven(Math.fround(real / scale)) + zero;
    data[at] = Math.min(high, Math.max(low, steps));
  });
  return { data, dims: tensor.dims };
}

/** scale * (integer - zero_point). */
export function dequantized(tensor, binding) {
  const [scale, zero] = [Math.fround(binding.quant.scale[0]), binding.quant.zero_point[0]];
  return { data: Float32Array.from(tensor.data, (integer) => scale * (integer - zero)), dims: tensor.dims };
}

function halfToEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}
