"""Win back accuracy that static int8 loses. Pure functions; each decides on data, or does what was decided.

    float model --equalize/smooth--> float model, the same function       before calibration
    QuantPlan --correct_bias, adaround--> QuantPlan                        after ``place``

What was decided is a ``Restoration``: written to edgekit.lock it gives the same bytes on another machine. How
the pipeline calls it is in ``restoration``; order, names and what ``auto`` keeps are in ``choose``.
"""
