"""Picture sides: each module is a kind (``visual.kind``) and defines ``PictureSide``.

``PictureSide(settings, frozen)`` derives from :class:`brain2clip.models.pictures.PictureSideBase`, which is its
contract; ``frozen`` has the parts of the frozen CLIP.
"""
