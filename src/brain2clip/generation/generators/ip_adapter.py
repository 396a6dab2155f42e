"""Stable Diffusion XL with an IP-Adapter that takes an image embedding; the text is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain2clip.generation import pipelines
from brain2clip.settings import IpAdapterGenerator
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Generator:
    """``diffusers.StableDiffusionXLPipeline``, or ``…Img2ImgPipeline`` where pictures are started from others.

    Attributes
    ----------
    width : int
        Of the image embeddings that it takes.
    """

    def __init__(self, settings: IpAdapterGenerator, device: torch.device) -> None:
        self.settings, self.device = settings, device
        name = "StableDiffusionXLPipeline" if settings.start is None else "StableDiffusionXLImg2ImgPipeline"
        # A watermark, which is on where its library happens to be installed, would be in what is judged.
        self.pipeline = pipelines.load(name, settings, device, add_watermarker=False)
        given = {"subfolder": settings.subfolder, "weight_name": settings.weights, "image_encoder_folder": None}
        parts, load = f"--include {settings.subfolder}/{settings.weights}", self.pipeline.load_ip_adapter
        pipelines.fetched(settings.adapter, "adapter", parts, lambda source, **where: load(source, **given, **where))
        self.pipeline.set_ip_adapter_scale(settings.scale)
        self.width = _width(self.pipeline.unet, settings)
        #: Whether the pipeline guides; UNets that are told the scale (latent consistency) do without a negative.
        self.guided = settings.guidance > 1 and self.pipeline.unet.config.time_cond_proj_dim is None

    def draw(
        self,
        points: torch.Tensor,
        negative: torch.Tensor,
        noise: list[torch.Generator],
        start: NDArray[np.uint8] | None,
    ) -> NDArray[np.uint8]:
        """Pictures [b, size, size, 3] of points [b, d].

        One by one: the pipeline takes one embedding for all pictures of a call. In training zeros stood in for the
        embedding of no picture, so they are the negative, as in the pipeline's own ``encode_image``.
        """
        import numpy as np
        import torch

        settings, found = self.settings, []
        for number, point in enumerate(points.to(self.device, self.pipeline.unet.dtype)):
            told = point[None, None]
            given = {
                "prompt": "",
                "ip_adapter_image_embeds": [torch.cat([torch.zeros_like(told), told]) if self.guided else told],
                "num_inference_steps": settings.steps,
                "guidance_scale": settings.guidance,
                "generator": noise[number],
                "output_type": "np",
            }
            if settings.start is None:
                given |= {"height": settings.size, "width": settings.size}
            else:
                assert start is not None
                given |= {"image": pipelines.started(start[number : number + 1]), "strength": settings.start.strength}
            found.append(self.pipeline(**given).images)
        return pipelines.as_bytes(np.concatenate(found), settings.model)


def _width(unet: Any, settings: IpAdapterGenerator) -> int:
    """Width of the embeddings that the adapter takes; one that takes the tower's patch tokens instead is refused."""
    from diffusers.models.embeddings import ImageProjection

    (layer,) = unet.encoder_hid_proj.image_projection_layers
    if not isinstance(layer, ImageProjection):
        raise InputError(
            f"generators.*.weights: {settings.weights} takes patch tokens of the tower ({type(layer).__name__}), not "
            "its image embedding; choose an adapter for image embeddings, such as ip-adapter_sdxl_vit-h.safetensors"
        )
    return int(layer.image_embeds.in_features)
