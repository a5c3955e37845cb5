package @@PACKAGE@@;

/**
 * Raw sample -> model input: the steps that the recipe names, in the arithmetic that edgekit used (float32).
 *
 * A sample is (height, width, channels) or (height, width) until {@link #channelsFirst}.
 */
public final class Steps {
    private Steps() {}

    /** Values in row-major order, and their sizes. */
    public static final class Sample {
        final float[] values;
        final int[] shape;

        public Sample(float[] values, int... shape) {
            int size = 1;
            for (int dim : shape) {
                size *= dim;
            }
            if (size != values.length) {
                throw new IllegalArgumentException(values.length + " values do not fill " + size);
            }
            this.values = values;
            this.shape = shape.clone();
        }
    }

    /** Half-pixel centres, edges clamped, no antialiasing (ONNX Resize, "half_pixel"). */
    static Sample resize(Sample raw, int height, int width, boolean nearest) {
        Sample x = image(raw);
        return axis(axis(x, 0, height, nearest), 1, width, nearest);
    }

    private static Sample axis(Sample x, int axis, int size, boolean nearest) {
        int old = x.shape[axis];
        int outer = axis == 0 ? 1 : x.shape[0];
        int inner = axis == 0 ? x.shape[1] * x.shape[2] : x.shape[2];
        float[] out = new float[outer * size * inner];
        for (int i = 0; i < size; i++) {
            double centre = (i + 0.5) * ((double) old / size) - 0.5;
            int low = (int) Math.floor(centre);
            float weight = (float) (centre - low);
            int below = clamp(nearest ? (int) Math.ceil(centre - 0.5) : low, old);
            int above = clamp(low + 1, old);
            for (int o = 0; o < outer; o++) {
                for (int k = 0; k < inner; k++) {
                    float a = x.values[(o * old + below) * inner + k];
                    float b = x.values[(o * old + above) * inner + k];
                    out[(o * size + i) * inner + k] = nearest ? a : a * (1 - weight) + b * weight;
                }
            }
        }
        int[] shape = x.shape.clone();
        shape[axis] = size;
        return new Sample(out, shape);
    }

    private static int clamp(int at, int size) {
        return Math.max(0, Math.min(size - 1, at));
    }

    /** x * by. */
    static Sample scale(Sample x, float by) {
        float[] out = new float[x.values.length];
        for (int at = 0; at < out.length; at++) {
            out[at] = x.values[at] * by;
        }
        return new Sample(out, x.shape);
    }

    /** (x - mean) / std, one value for each index of the last axis, or one for all. */
    static Sample normalize(Sample x, float[] mean, float[] std) {
        int last = x.shape[x.shape.length - 1];
        if (mean.length != 1 && mean.length != last || std.length != 1 && std.length != last) {
            throw new IllegalArgumentException("normalize does not fit " + last + " channels");
        }
        float[] out = new float[x.values.length];
        for (int at = 0; at < out.length; at++) {
            int channel = at % last;
            float centred = x.values[at] - mean[mean.length == 1 ? 0 : channel];
            out[at] = centred / std[std.length == 1 ? 0 : channel];
        }
        return new Sample(out, x.shape);
    }

    /** (height, width, channels) -> (channels, height, width). */
    static Sample channelsFirst(Sample raw) {
        Sample x = image(raw);
        int pixels = x.shape[0] * x.shape[1];
        int channels = x.shape[2];
        float[] out = new float[x.values.length];
        for (int pixel = 0; pixel < pixels; pixel++) {
            for (int channel = 0; channel < channels; channel++) {
                out[channel * pixels + pixel] = x.values[pixel * channels + channel];
            }
        }
        return new Sample(out, channels, x.shape[0], x.shape[1]);
    }

    /** (height, width) -> (height, width, 1). */
    static Sample image(Sample x) {
        if (x.shape.length == 2) {
            return new Sample(x.values, x.shape[0], x.shape[1], 1);
        }
        if (x.shape.length != 3) {
            throw new IllegalArgumentException("an image has two or three axes, not " + x.shape.length);
        }
        return x;
    }

    /** Rounded half to even, from 0 to 255. */
    static Sample bytes(Sample x) {
        float[] out = new float[x.values.length];
        for (int at = 0; at < out.length; at++) {
            out[at] = (float) Math.max(0.0, Math.min(255.0, Math.rint(x.values[at])));
        }
        return new Sample(out, x.shape);
    }

    /** Cut off towards zero, as a cast to an integer type does. */
    static Sample truncate(Sample x) {
        float[] out = new float[x.values.length];
        for (int at = 0; at < out.length; at++) {
            out[at] = (float) (long) x.values[at];
        }
        return new Sample(out, x.shape);
    }
}
