package com.google.ai.edge.litert;

/** The methods that LiteRT's class of this name has. */
public final class TensorBuffer implements AutoCloseable {
    Object values;

    TensorBuffer() {
        Fake.open++;
    }

    public void writeFloat(float[] data) {
        values = data;
    }

    public void writeInt(int[] data) {
        values = data;
    }

    public void writeLong(long[] data) {
        values = data;
    }

    public void writeInt8(byte[] data) {
        values = data;
    }

    public void writeBoolean(boolean[] data) {
        values = data;
    }

    public float[] readFloat() {
        return (float[]) values;
    }

    public int[] readInt() {
        return (int[]) values;
    }

    public long[] readLong() {
        return (long[]) values;
    }

    public byte[] readInt8() {
        return (byte[]) values;
    }

    public boolean[] readBoolean() {
        return (boolean[]) values;
    }

    @Override
    public void close() {
        Fake.open--;
    }
}
