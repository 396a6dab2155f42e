"""Learning-rate schedules: each module is a kind (``optimiser.schedule``) and defines ``Schedule``.

``Schedule(settings, steps)`` is called with the number of a step, from 0 to ``steps``, and gives the factor on the
learning rate. The warm-up comes before, and its steps are not counted. Where its settings say ``by_epoch``, it is
``Schedule(settings, steps, per_epoch)`` with the number of steps of an epoch.
"""
