"""The decoder of Kandinsky 2.2, whatever its size: a UNet that is told an image embedding, and a MoVQ autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain2clip.generation import pipelines
from brain2clip.settings import KandinskyGenerator
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Generator:
    """``diffusers.KandinskyV22Pipeline``, or ``KandinskyV22Img2ImgPipeline`` where pictures are started from others.

    Attributes
    ----------
    width : int
        Of the image embeddings that it takes.
    """

    def __init__(self, settings: KandinskyGenerator, device: torch.device) -> None:
        self.settings, self.device = settings, device
        name = "KandinskyV22Pipeline" if settings.start is None else "KandinskyV22Img2ImgPipeline"
        self.pipeline = pipelines.load(name, settings, device)
        self.width = int(self.pipeline.unet.config.encoder_hid_dim)
        # The pipeline rounds latents up to whole multiples of its scale, and pictures with them.
        unit = 4 ** (len(self.pipeline.movq.config.block_out_channels) - 1)
        if settings.size % unit:
            raise InputError(
                f"generators.*.size: {settings.model} makes pictures whose size is a multiple of {unit} pixels, "
                f"found {settings.size}; the next larger size is {-(-settings.size // unit) * unit}"
            )

    def draw(
        self,
        points: torch.Tensor,
        negative: torch.Tensor,
        noise: list[torch.Generator],
        start: NDArray[np.uint8] | None,
    ) -> NDArray[np.uint8]:
        """Pictures [b, size, size, 3] of points [b, d]; guidance points away from ``negative`` [d]."""
        settings = self.settings
        told = points.to(self.device, self.pipeline.unet.dtype)
        given = {
            "image_embeds": told,
            "negative_image_embeds": negative.to(told).expand_as(told),
            "height": settings.size,
            "width": settings.size,
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance,
            "generator": noise,
            "output_type": "np",
        }
        if settings.start is not None:
            assert start is not None
            given |= {"image": pipelines.started(start), "strength": settings.start.strength}
        return pipelines.as_bytes(self.pipeline(**given).images, settings.model)
