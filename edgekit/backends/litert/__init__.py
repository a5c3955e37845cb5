"""ONNX graph (float or QDQ) -> .tflite, written directly; LiteRT runs it.

    ir.Model --units.read--> Program --layout.decide--> LayoutPlan
    Program + LayoutPlan --lower.lower--> Graph --flatbuffer.pack--> bytes

Each arrow decides or does, never both: ``units`` finds what is one kernel, ``layout`` finds where the fewest
transposes are, ``lower`` looks each operator up in a table and emits, ``flatbuffer`` writes.
"""
