"""Mappings from a response to the frozen CLIP space: each module is a kind (``network.kind``) and defines ``Mapping``.

``Mapping(settings, n_in, width)`` is a ``torch.nn.Module`` from inputs [B, n_in] to a pair: the embedding [B, width],
and what it adds to the loss of a batch (a scalar, as the prior of a VAE) or None.
"""
