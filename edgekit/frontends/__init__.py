"""SOURCE string -> float ``onnx_ir.Model`` and the framework itself as a Runner, to be compared with it.

    source.load(SourceRequest) -> Loaded(model, reference, framework)
    parity.check(reference, candidate) -> ParityReport

No module here imports a framework before a function needs it.
"""
