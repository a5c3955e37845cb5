package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import java.lang.reflect.Array;
import java.util.List;
import java.util.Map;

/** The methods that LiteRT's class of this name has; ``run`` gives recorded outputs in turn. */
public final class CompiledModel implements AutoCloseable {
    public static final class Options {
        final Accelerator accelerator;

        public Options(Accelerator... accelerators) {
            accelerator = accelerators[0];
        }
    }

    private final Accelerator accelerator;
    private int runs;

    private CompiledModel(Accelerator accelerator) {
        this.accelerator = accelerator;
        Fake.open++;
    }

    public static CompiledModel create(AssetManager assets, String name, Options options) throws Exception {
        assets.open(name).close();
        if (options.accelerator == Accelerator.GPU && Fake.gpu.equals("refuses")) {
            throw new Exception("Failed to compile model: 3 operators are not supported");
        }
        if (options.accelerator == Accelerator.GPU && Fake.gpu.equals("unlinked")) {
            throw new UnsatisfiedLinkError("no accelerator in the app");
        }
        return new CompiledModel(options.accelerator);
    }

    public TensorBuffer createInputBuffer(String name) {
        return new TensorBuffer();
    }

    public TensorBuffer createOutputBuffer(String name) {
        return new TensorBuffer();
    }

    public void run(Map<String, TensorBuffer> inputs, Map<String, TensorBuffer> outputs) {
        for (TensorBuffer input : inputs.values()) {
            if (input.values == null) {
                throw new IllegalStateException("an input was not written");
            }
        }
        List<Object> answer = Fake.answers.get(runs++ % Fake.answers.size());
        for (int at = 0; at < Fake.names.size(); at++) {
            Object values = answer.get(at);
            if (accelerator == Accelerator.GPU && Fake.gpu.equals("wrong")) {
                values = Array.newInstance(values.getClass().getComponentType(), Array.getLength(values));
            }
            outputs.get(Fake.names.get(at)).values = values;
        }
    }

    @Override
    public void close() {
        Fake.open--;
    }
}
