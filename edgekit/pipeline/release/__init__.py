"""`release`: recipe -> bundle, stage by stage.

run              the order of the stages, and the only module that knows it
start            model, data, lock and float truth (`sweep` begins so too)
locking, prepared_once   what is kept from the last release, what is learned once
try_targets      every target's candidates
compare, framework, complete_rows, embedding_cost, readiness   what a reader is told beside the choice
deliver, provenance, packages   what is written
"""
