"""Encoders of brain responses: each module is a kind (``encoder.kind``) and defines ``Encoder``.

``Encoder(settings, inputs)`` is a ``torch.nn.Module`` from responses [B, C, T] (of voxels [B, V]) to embeddings
[B, ``settings.width``]; ``inputs`` is :class:`brain2clip.models.brain_encoder.Inputs`. Smoothing and the head are added
outside.
"""
