package @@PACKAGE@@;

import android.content.Context;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Path and hash -> bytes of an asset that are what edgekit packaged. */
final class Assets {
    private static final int BLOCK_BYTES = 1 << 16;

    private Assets() {}

    /**
     * The content of an asset.
     *
     * @throws IOException it is missing, or its SHA-256 is another one.
     */
    static byte[] read(Context context, String path, String sha256) throws IOException {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        try (InputStream stream = context.getAssets().open(path)) {
            byte[] block = new byte[BLOCK_BYTES];
            for (int count = stream.read(block); count >= 0; count = stream.read(block)) {
                content.write(block, 0, count);
            }
        }
        byte[] bytes = content.toByteArray();
        String found = sha256(bytes);
        if (!found.equals(sha256)) {
            throw new IOException(path + " is damaged: sha256 " + found + " instead of " + sha256);
        }
        return bytes;
    }

    private static String sha256(byte[] bytes) {
        try {
            StringBuilder text = new StringBuilder();
            for (byte each : MessageDigest.getInstance("SHA-256").digest(bytes)) {
                text.append(Character.forDigit(each >> 4 & 0xf, 16)).append(Character.forDigit(each & 0xf, 16));
            }
            return text.toString();
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error); // every Java platform has SHA-256
        }
    }
}
