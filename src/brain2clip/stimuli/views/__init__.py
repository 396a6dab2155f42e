"""Views of a picture, one module each with a class ``View``; :mod:`brain2clip.stimuli.view_base` is what they share.

``View(settings)`` is called with the picture as the tower sees it, uint8 [H, W, 3], and gives another one of the same
shape and type. The same picture must always give the same view, whatever came before it.
"""
