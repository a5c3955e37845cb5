import PACKAGE.Tensor;
import PACKAGE.TYPESpec;
import android.content.Context;
import java.io.File;
import java.io.IOException;
import java.lang.reflect.Array;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;

/** Runs the packaged class over the packaged assets and writes what it computed, little-endian. */
public final class Harness {
    public static void main(String[] args) throws IOException {
        Context context = new Context(new File(args[0]));
        File out = new File(args[1]);
        TYPESpec.verifyAssets(context);
        System.out.println("verified " + TYPESpec.MODEL_ASSET);
        System.out.println("labels " + TYPESpec.labels(context).size());
        int number = 0;
        for (TYPESpec.GoldenSample sample : TYPESpec.golden(context)) {
            for (int at = 0; at < TYPESpec.INPUTS.size(); at++) {
                Tensor tensor = TYPESpec.INPUTS.get(at);
                put(out, "input_" + at + "_" + number, sample.inputs.get(at));
                put(out, "inside_" + at + "_" + number, tensor.toModel(sample.inputs.get(at)));
            }
            List<Object> back = new ArrayList<>();
            for (int at = 0; at < TYPESpec.OUTPUTS.size(); at++) {
                Tensor tensor = TYPESpec.OUTPUTS.get(at);
                back.add(tensor.fromModel(tensor.toModel(sample.outputs.get(at))));
                put(out, "output_" + at + "_" + number, back.get(at));
            }
            System.out.println("difference " + number + " [" + sample.difference(back) + "]");
            Array.set(back.get(0), 0, moved(back.get(0)));
            System.out.println("moved " + number + " [" + sample.difference(back) + "]");
            number++;
        }
    }

    /** The first value, far outside every tolerance. */
    private static Object moved(Object values) {
        return values instanceof float[] ? (Object) (((float[]) values)[0] + 1000f) : Array.get(values, 0);
    }

    private static void put(File folder, String name, Object values) throws IOException {
        int size = Array.getLength(values);
        ByteBuffer bytes = ByteBuffer.allocate(8 * size).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < size; at++) {
            if (values instanceof float[]) {
                bytes.putFloat(((float[]) values)[at]);
            } else if (values instanceof int[]) {
                bytes.putInt(((int[]) values)[at]);
            } else if (values instanceof long[]) {
                bytes.putLong(((long[]) values)[at]);
            } else if (values instanceof boolean[]) {
                bytes.put((byte) (((boolean[]) values)[at] ? 1 : 0));
            } else {
                bytes.put(((byte[]) values)[at]);
            }
        }
        byte[] written = new byte[bytes.position()];
        bytes.flip();
        bytes.get(written);
        Files.write(new File(folder, name + ".bin").toPath(), written);
    }
}
