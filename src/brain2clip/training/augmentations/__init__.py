"""What is drawn on responses in training: each module is a kind (``augmentation``) and defines ``Augmentation``.

``Augmentation(settings, inputs)`` is called with a :class:`brain2clip.training.augmenting.Batch` and a generator of
NumPy, of which all its draws come, and gives another batch. On a GPU it must not wait for the device.
"""
