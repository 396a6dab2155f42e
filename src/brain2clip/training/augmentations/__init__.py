"""Random changes of responses in training: each module is a kind (``augmentation``) and defines ``Augmentation``.

``Augmentation(settings, inputs)`` is called with a :class:`brain2clip.training.augmenting.Batch` and a NumPy generator
for all its random numbers, and returns another batch. On a GPU it must not wait for the device.
"""
