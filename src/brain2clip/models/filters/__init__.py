"""Dynamic filters: each module is a kind (``visual.filter.kind``) and defines ``Filter``.

``Filter(settings, width, bands)`` is a ``torch.nn.Module`` from patch tokens [B, N, D] and those of K frequency bands
[B, K, N, D] to the filtered stream [B, N, D]; its ``gains(tokens)`` [B, K] are what figures show.
"""
