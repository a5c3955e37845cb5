"""`prune` in all its forms: what loses channels or weights, and what is known of it afterwards.

run              float ONNX -> a smaller file
for_release      the same inside a release: what its candidates are made of
live_module, live_keras   the same plan carried out on a live model

asked -> job (width_search, speedometer, judging) -> outcome          channels
      -> zeros                                                       single weights
"""
