"""Picture sides: each module is a kind (``visual.kind``) and defines ``PictureSide``.

``PictureSide(settings, frozen)`` derives from :class:`brain2clip.models.pictures.PictureSideBase`, which says what it
must have; ``frozen`` is what there is of the frozen CLIP.
"""
