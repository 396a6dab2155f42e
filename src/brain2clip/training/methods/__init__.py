"""Methods: each module is a kind (``methods.*.kind``) and defines ``Method``.

The contract is :class:`brain2clip.training.method.Method`; what the plan must know of a kind stands in its settings
class (:class:`brain2clip.settings.MethodBase`).
"""
