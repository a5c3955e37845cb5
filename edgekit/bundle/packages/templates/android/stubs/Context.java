package android.content;

import android.content.res.AssetManager;

/** Stands for Android's class while the package is compiled; it is not packaged. */
public abstract class Context {
    public abstract AssetManager getAssets();
}
