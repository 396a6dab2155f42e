"""Adapters: trained changes of the frozen tower's weights; each module is a kind and defines ``Adapter``.

``Adapter(settings, visual, blocks)`` is a ``torch.nn.Module`` that holds its parameters and nothing else, and at its
start changes nothing. ``visual`` is an open_clip picture tower. Its modules belong to this model, but its weights are
shared with other models and must never be written to. ``blocks`` is the number of blocks that the tower runs through.
``merge()`` puts the changes into new weights, for use after training.
:class:`brain2clip.models.weight_changes.WeightChanges` has what most of them need.
"""
