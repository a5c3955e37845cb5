"""``.tflite`` file -> ONNX model: QDQ where the file is integer, float where it is float.

bytes --read--> TfliteFile --convert--> onnx_ir.Model      reference: the same file on LiteRT
"""

from __future__ import annotations

from edgekit.frontends.tflite.load import load_tflite

__all__ = ["load_tflite"]
