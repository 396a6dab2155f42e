"""Views of a picture, one module each with a class ``View``; :mod:`brain2clip.stimuli.view_base` has common parts.

``View(settings)`` is called with the picture after the tower's resizing and cropping, uint8 [H, W, 3], and returns
another one of the same shape and type. The same picture must always give the same view.
"""
