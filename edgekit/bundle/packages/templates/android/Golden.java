package @@PACKAGE@@;

import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Recorded arrays, and whether an output is the recorded one within the tolerance. */
public final class Golden {
    private Golden() {}

    /** Sample {@code at} of an asset that holds samples of {@code size} elements, little-endian. */
    static Object sample(byte[] bytes, String dtype, int size, int at) {
        ByteBuffer from = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        Object out = Tensor.empty(dtype, size);
        for (int k = 0; k < size; k++) {
            int where = at * size + k;
            switch (dtype) {
                case "float32":
                    ((float[]) out)[k] = from.getFloat(4 * where);
                    break;
                case "int32":
                    ((int[]) out)[k] = from.getInt(4 * where);
                    break;
                case "int64":
                    ((long[]) out)[k] = from.getLong(8 * where);
                    break;
                case "bool":
                    ((boolean[]) out)[k] = from.get(where) != 0;
                    break;
                default:
                    ((byte[]) out)[k] = from.get(where);
            }
        }
        return out;
    }

    /**
     * Why one output is not the recorded one; "" where it is within the tolerance.
     *
     * @param spread max - min of the recorded output over all samples, the unit where there is no step.
     */
    static String difference(Tensor tensor, Object found, Object wanted, double spread) {
        int size = tensor.size();
        if (Array.getLength(found) != size || size == 0) {
            return tensor.name + " has " + Array.getLength(found) + " elements, recorded are " + size;
        }
        boolean stepped = tensor.step != 0;
        double unit = stepped ? tensor.step : spread;
        double allowed = stepped ? @@TYPE@@Spec.TOLERANCE_STEPS : @@TYPE@@Spec.TOLERANCE_OF_RANGE;
        int worst = -1;
        double most = allowed;
        for (int at = 0; at < size; at++) {
            double gap = Math.abs(real(found, at, tensor) - real(wanted, at, tensor)) / unit;
            if (!(gap <= most)) { // NaN counts as a difference
                worst = at;
                most = gap;
                if (Double.isNaN(gap)) {
                    break;
                }
            }
        }
        if (worst < 0) {
            return "";
        }
        return tensor.name + " at " + worst + " is " + real(found, worst, tensor) + ", recorded "
                + real(wanted, worst, tensor) + ": " + most + (stepped ? " steps" : " of the range")
                + ", allowed are " + allowed;
    }

    /** max - min over all recorded samples; 1 where all are alike and zero. */
    static double spread(byte[] recorded, Tensor tensor, int samples) {
        double low = Double.POSITIVE_INFINITY;
        double high = Double.NEGATIVE_INFINITY;
        for (int sample = 0; sample < samples; sample++) {
            Object values = sample(recorded, tensor.dtype, tensor.size(), sample);
            for (int at = 0; at < tensor.size(); at++) {
                low = Math.min(low, real(values, at, tensor));
                high = Math.max(high, real(values, at, tensor));
            }
        }
        if (high > low) {
            return high - low;
        }
        return high != 0 ? Math.abs(high) : 1;
    }

    private static double real(Object values, int at, Tensor tensor) {
        if (tensor.dtype.equals("bool")) {
            return ((boolean[]) values)[at] ? 1 : 0;
        }
        if (tensor.dtype.equals("float32")) {
            return ((float[]) values)[at];
        }
        return Tensor.integer(values, at, tensor.dtype);
    }
}
