"""Learning-rate schedules: each module is a kind (``optimiser.schedule``) and defines ``Schedule``.

``Schedule(settings, steps)`` is called with the number of a step, from 0 to ``steps``, and gives the factor on the
learning rate. The warm-up comes before, and its steps are not counted.
"""
