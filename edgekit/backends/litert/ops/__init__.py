"""Lowerings, one family of ONNX operators per file; the table that names them all is in ``lower.py``."""
