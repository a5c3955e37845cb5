package android.content.res;

import java.io.IOException;
import java.io.InputStream;

/** Stands for Android's class while the package is compiled; it is not packaged. */
public final class AssetManager {
    public InputStream open(String fileName) throws IOException {
        throw new IOException(fileName);
    }
}
