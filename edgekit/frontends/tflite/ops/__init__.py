"""Builtin operator of TFLite -> how it is written in ONNX, one file per family."""
