"""`bench` in all its forms: what is measured where, and what is told about it.

on_this_machine | on_devices | of_bundle     artifacts -> interleaved latencies -> who is faster
end_to_end | streams | sustained             the whole chain; many processes; minutes on end
profile, roof                                operator by operator, against what the machine can do
history                                      against the results of earlier days
"""
