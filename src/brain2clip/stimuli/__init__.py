"""Pictures and captions, the image filter bank, frozen CLIP features."""
