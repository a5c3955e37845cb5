"""Functions over ``onnx_ir.Model``: read and write, traverse and edit, print, verify, hash.

The IR is onnx_ir itself; there is no wrapper class. ``ir.io`` is the only file that touches protobuf.
"""
