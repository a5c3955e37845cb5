package @@PACKAGE@@;

import java.lang.reflect.Array;

/**
 * One input or output: values as the reference model has them, and as the file has them.
 *
 * <pre>
 *   inside = cast(quantize(transpose(values)))          values = transpose(cast(dequantize(inside)))
 *   integer = clip(round_half_even(real / scale) + zeroPoint)    real = scale * (integer - zeroPoint)
 * </pre>
 *
 * Values are flat arrays in row-major order: float[] for float32, int[] for int32, long[] for int64, byte[] for
 * int8 and uint8, boolean[] for bool.
 */
public final class Tensor {
    /** Name in the reference model. */
    public final String name;
    /** Name in the file's signature. */
    public final String inside;
    /** Element type of the reference model. */
    public final String dtype;
    /** Element type of the file. */
    public final String insideDtype;
    /** Step of the file's integers; 0 where it takes what the reference takes. */
    public final float scale;
    /** Integer that stands for 0. */
    public final int zeroPoint;
    /** One quantization step of the output in real units; 0 where it is not quantized. */
    public final double step;

    private final int[] shape;
    private final int[] permutation;

    Tensor(
            String name,
            String inside,
            String dtype,
            String insideDtype,
            int[] shape,
            int[] permutation,
            float scale,
            int zeroPoint,
            double step) {
        this.name = name;
        this.inside = inside;
        this.dtype = dtype;
        this.insideDtype = insideDtype;
        this.shape = shape;
        this.permutation = permutation;
        this.scale = scale;
        this.zeroPoint = zeroPoint;
        this.step = step;
    }

    /** Sizes in the reference model, the batch (1) first. */
    public int[] shape() {
        return shape.clone();
    }

    /** Number of elements. */
    public int size() {
        int size = 1;
        for (int dim : shape) {
            size *= dim;
        }
        return size;
    }

    /** Values of the reference -> values of the file. */
    public Object toModel(Object values) {
        int[] order = order();
        require(values, order.length);
        Object out = empty(insideDtype, order.length);
        for (int at = 0; at < order.length; at++) {
            if (scale != 0) {
                ((byte[]) out)[at] = (byte) quantized(((float[]) values)[order[at]]);
            } else {
                copy(values, order[at], dtype, out, at, insideDtype);
            }
        }
        return out;
    }

    /** Values of the file -> values of the reference. */
    public Object fromModel(Object values) {
        int[] order = order();
        require(values, order.length);
        Object out = empty(dtype, order.length);
        for (int at = 0; at < order.length; at++) {
            if (scale != 0) {
                int integer = whole(((byte[]) values)[at], insideDtype);
                ((float[]) out)[order[at]] = (float) ((double) (integer - zeroPoint) * (double) scale);
            } else {
                copy(values, at, insideDtype, out, order[at], dtype);
            }
        }
        return out;
    }

    /** Element of the file -> element of the reference: axis i of the file is axis permutation[i]. */
    private int[] order() {
        int rank = shape.length;
        int[] order = new int[size()];
        if (permutation.length == 0) {
            for (int at = 0; at < order.length; at++) {
                order[at] = at;
            }
            return order;
        }
        int[] strides = new int[rank];
        int stride = 1;
        for (int axis = rank - 1; axis >= 0; axis--) {
            strides[axis] = stride;
            stride *= shape[axis];
        }
        for (int at = 0; at < order.length; at++) {
            int rest = at;
            for (int axis = rank - 1; axis >= 0; axis--) {
                int from = permutation[axis];
                order[at] += (rest % shape[from]) * strides[from];
                rest /= shape[from];
            }
        }
        return order;
    }

    private int quantized(float real) {
        int low = insideDtype.equals("int8") ? -128 : 0;
        double steps = Math.rint((double) (real / scale));
        if (Double.isNaN(steps)) {
            steps = 0;
        }
        return (int) Math.max(low, Math.min(low + 255, steps + zeroPoint));
    }

    private void require(Object values, int size) {
        if (Array.getLength(values) != size) {
            throw new IllegalArgumentException(
                    name + " has " + Array.getLength(values) + " elements instead of " + size);
        }
    }

    /** A sample that pre-processing gave, as the reference model's element type. */
    Object fromFloats(float[] values) {
        require(values, size());
        if (dtype.equals("float32")) {
            return values;
        }
        Object out = empty(dtype, values.length);
        for (int at = 0; at < values.length; at++) {
            put(out, at, dtype, (long) values[at]);
        }
        return out;
    }

    static Object empty(String dtype, int size) {
        switch (dtype) {
            case "float32":
                return new float[size];
            case "int32":
                return new int[size];
            case "int64":
                return new long[size];
            case "int8":
            case "uint8":
                return new byte[size];
            case "bool":
                return new boolean[size];
            default:
                throw new IllegalArgumentException(dtype);
        }
    }

    private static void copy(Object from, int at, String dtype, Object to, int where, String toDtype) {
        if (dtype.equals("float32")) {
            ((float[]) to)[where] = ((float[]) from)[at];
        } else if (dtype.equals("bool")) {
            ((boolean[]) to)[where] = ((boolean[]) from)[at];
        } else {
            put(to, where, toDtype, integer(from, at, dtype));
        }
    }

    static long integer(Object from, int at, String dtype) {
        long found = Array.getLong(from, at);
        return dtype.equals("uint8") ? found & 0xff : found;
    }

    private static int whole(byte value, String dtype) {
        return dtype.equals("uint8") ? value & 0xff : value;
    }

    private static void put(Object to, int at, String dtype, long value) {
        switch (dtype) {
            case "int32":
                if (value != (int) value) {
                    throw new IllegalArgumentException(value + " does not fit into int32");
                }
                ((int[]) to)[at] = (int) value;
                break;
            case "int64":
                ((long[]) to)[at] = value;
                break;
            case "bool":
                ((boolean[]) to)[at] = value != 0;
                break;
            default:
                ((byte[]) to)[at] = (byte) value;
        }
    }
}
