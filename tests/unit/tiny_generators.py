"""Pipelines of random weights, small enough for tests, in folders as save_pretrained writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    KandinskyV22Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from brain2clip.simulation import train_generator
from brain2clip.simulation.train_generator import GeneratorSettings

#: Of the image embeddings that they take, and side of a picture.
WIDTH, SIZE = 12, 16
SETTINGS = GeneratorSettings(size=SIZE, channels=(24, 24, 24), autoencoder_channels=(8, 8, 8))


def kandinsky(folder: Path, learned_variance: bool = False, width: int = WIDTH) -> str:
    """Decoder with the scheduler of the small generator, or with noise in every step, as the published one has."""
    torch.manual_seed(0)
    unet, movq = train_generator.new_unet(SETTINGS, width), train_generator.new_autoencoder(SETTINGS)
    scheduler = DDPMScheduler(variance_type="learned_range") if learned_variance else train_generator.new_scheduler()
    KandinskyV22Pipeline(unet=unet.half(), movq=movq.half(), scheduler=scheduler).save_pretrained(folder)
    return f"local-dir:{folder}"


def sdxl(folder: Path) -> str:
    """Stable Diffusion XL, whose steps draw noise, as those of SDXL-Turbo do."""
    torch.manual_seed(1)
    words = folder / "words"
    words.mkdir(parents=True)
    (words / "vocab.json").write_text(json.dumps({"!": 0, "!</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(words, model_max_length=8)
    text = CLIPTextConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=8, projection_dim=8, bos_token_id=2, eos_token_id=3, pad_token_id=3,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=16,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=8 + 6 * 2,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=SIZE,
    )
    with torch.no_grad():  # latents well above the noise of the last step, and no noise of their own
        vae.quant_conv.weight[:4].mul_(30)
        vae.quant_conv.weight[4:], vae.quant_conv.bias[4:] = 0, -30
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(),
    ).save_pretrained(folder / "sdxl")
    return f"local-dir:{folder / 'sdxl'}"


def adapter(folder: Path, width: int = WIDTH) -> str:
    """An IP-Adapter for it, as published ones are stored: four tokens of the text's width, keys and values by layer."""
    generator = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    tensors = {
        "image_proj.proj.weight": drawn(4 * 16, width),
        "image_proj.proj.bias": drawn(4 * 16),
        "image_proj.norm.weight": torch.ones(16),
        "image_proj.norm.bias": torch.zeros(16),
    }
    for layer in range(4):  # one in the block down, one in the middle, two up; between them lie those of self-attention
        for name in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * layer + 1}.{name}.weight"] = drawn(8, 16)
    (folder / "sdxl_models").mkdir(parents=True)
    save_file(tensors, folder / "sdxl_models/ip-adapter_sdxl_vit-h.safetensors")
    return f"local-dir:{folder}"
