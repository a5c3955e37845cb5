package @@PACKAGE@@;

import android.content.Context;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * What the app must know about the model: assets with their hashes, inputs, outputs, steps before the model,
 * golden vectors. Written by edgekit from the manifest of the bundle; do not edit.
 */
public final class @@TYPE@@Spec {
    public static final String NAME = @@NAME@@;
    public static final String VERSION = @@VERSION@@;
    /** Target and precision of the artifact, in edgekit's words. */
    public static final String TARGET = @@TARGET@@;
    public static final String PRECISION = @@PRECISION@@;
    /** Digest of the bundle's manifest. */
    public static final String MANIFEST_DIGEST = @@MANIFEST_DIGEST@@;

    public static final String MODEL_ASSET = @@MODEL_ASSET@@;
    public static final String MODEL_SHA256 = @@MODEL_SHA256@@;

    /** How far outputs may be from the recorded ones: in steps, or as a part of the output's range. */
    public static final double TOLERANCE_STEPS = @@TOLERANCE_STEPS@@;
    public static final double TOLERANCE_OF_RANGE = @@TOLERANCE_OF_RANGE@@;

    /** Inputs and outputs in the order of the reference model. */
    public static final List<Tensor> INPUTS = list(@@INPUTS@@);
    public static final List<Tensor> OUTPUTS = list(@@OUTPUTS@@);

    /** Path and SHA-256 of every other asset. */
    private static final String[][] ASSETS = {@@ASSETS@@};

    /** Samples that were recorded, and the size of one raw sample of each input. */
    public static final int SAMPLES = @@SAMPLES@@;
    private static final int[][] RAW_SHAPES = {@@RAW_SHAPES@@};
    private static final String[] RAW_DTYPES = {@@RAW_DTYPES@@};

    private @@TYPE@@Spec() {}

    @SafeVarargs
    private static <T> List<T> list(T... values) {
        return Collections.unmodifiableList(Arrays.asList(values));
    }

    private static int[] ints(int... values) {
        return values;
    }

    private static float[] floats(float... values) {
        return values;
    }

    /**
     * Whether the assets are what edgekit packaged.
     *
     * @throws IOException the first that is missing or damaged.
     */
    public static void verifyAssets(Context context) throws IOException {
        Assets.read(context, MODEL_ASSET, MODEL_SHA256);
        for (String[] asset : ASSETS) {
            Assets.read(context, asset[0], asset[1]);
        }
    }

    /**
     * A raw sample of an input -> values of that input: the steps of the recipe.
     *
     * @param input position in {@link #INPUTS}.
     * @param raw values in row-major order.
     * @param shape their sizes: (height, width) or (height, width, channels) for an image.
     */
    public static Object prepare(int input, float[] raw, int... shape) {
        Steps.Sample x = new Steps.Sample(raw, shape);
        switch (input) {@@STEPS@@
            default:
                throw new IllegalArgumentException("there is no input " + input);
        }
        int[] whole = INPUTS.get(input).shape();
        int[] wanted = Arrays.copyOfRange(whole, 1, whole.length);
        if (!Arrays.equals(x.shape, wanted)) {
            throw new IllegalArgumentException(
                    "a sample of " + Arrays.toString(shape) + " gives " + Arrays.toString(x.shape)
                            + ", the model takes " + Arrays.toString(wanted));
        }
        return INPUTS.get(input).fromFloats(x.values);
    }

    /** One recorded sample: values of the inputs, and the outputs that they gave where the model was released. */
    public static final class GoldenSample {
        public final List<Object> inputs;
        public final List<Object> outputs;
        private final double[] spreads;

        GoldenSample(List<Object> inputs, List<Object> outputs, double[] spreads) {
            this.inputs = inputs;
            this.outputs = outputs;
            this.spreads = spreads;
        }

        /** The first output that is not the recorded one, in words; "" where all are within the tolerance. */
        public String difference(List<?> found) {
            for (int at = 0; at < OUTPUTS.size(); at++) {
                String words = Golden.difference(OUTPUTS.get(at), found.get(at), outputs.get(at), spreads[at]);
                if (!words.isEmpty()) {
                    return words;
                }
            }
            return "";
        }
    }

    /**
     * Names of the classes, in order; empty where the model has none.
     *
     * @throws IOException the asset is missing or damaged.
     */
    public static List<String> labels(Context context) throws IOException {
        String[] asset = ASSETS[INPUTS.size() + OUTPUTS.size()];
        byte[] text = Assets.read(context, asset[0], asset[1]);
        if (text.length == 0) {
            return Collections.emptyList();
        }
        return list(new String(text, StandardCharsets.UTF_8).split("\n"));
    }

    /**
     * The golden vectors, from the raw sample on: {@link #prepare} has been run over them.
     *
     * @throws IOException an asset is missing or damaged.
     */
    public static List<GoldenSample> golden(Context context) throws IOException {
        List<byte[]> in = new ArrayList<>();
        List<byte[]> out = new ArrayList<>();
        for (int at = 0; at < INPUTS.size(); at++) {
            in.add(Assets.read(context, ASSETS[at][0], ASSETS[at][1]));
        }
        double[] spreads = new double[OUTPUTS.size()];
        for (int at = 0; at < OUTPUTS.size(); at++) {
            String[] asset = ASSETS[INPUTS.size() + at];
            out.add(Assets.read(context, asset[0], asset[1]));
            spreads[at] = Golden.spread(out.get(at), OUTPUTS.get(at), SAMPLES);
        }
        List<GoldenSample> samples = new ArrayList<>();
        for (int sample = 0; sample < SAMPLES; sample++) {
            List<Object> inputs = new ArrayList<>();
            List<Object> outputs = new ArrayList<>();
            for (int at = 0; at < INPUTS.size(); at++) {
                inputs.add(goldenInput(in.get(at), at, sample));
            }
            for (int at = 0; at < OUTPUTS.size(); at++) {
                Tensor tensor = OUTPUTS.get(at);
                outputs.add(Golden.sample(out.get(at), tensor.dtype, tensor.size(), sample));
            }
            samples.add(new GoldenSample(inputs, outputs, spreads));
        }
        return Collections.unmodifiableList(samples);
    }

    private static Object goldenInput(byte[] bytes, int input, int sample) {
        int size = 1;
        for (int dim : RAW_SHAPES[input]) {
            size *= dim;
        }
        Object raw = Golden.sample(bytes, RAW_DTYPES[input], size, sample);
        if (!HAS_STEPS[input]) {
            return raw;
        }
        float[] values = new float[size];
        for (int at = 0; at < size; at++) {
            values[at] =
                    raw instanceof float[] ? ((float[]) raw)[at] : Tensor.integer(raw, at, RAW_DTYPES[input]);
        }
        return prepare(input, values, RAW_SHAPES[input]);
    }

    private static final boolean[] HAS_STEPS = {@@HAS_STEPS@@};
}
