"""Methods: each module is a kind (``methods.*.kind``) and defines ``Method``.

The contract is :class:`brain2clip.training.method.Method`; the settings class of a kind
(:class:`brain2clip.settings.MethodBase`) has the properties that the plan needs.
"""
