package com.google.ai.edge.litert;

import java.util.List;

/** What the stand-in does. */
public final class Fake {
    /** "works", "refuses", "unlinked" or "wrong": what happens on the GPU. */
    public static String gpu = "works";
    /** Outputs of one run after another, in the file's types. */
    public static List<List<Object>> answers;
    public static List<String> names;
    /** Models and buffers that were made and not closed. */
    public static int open;
}
