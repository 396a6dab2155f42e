"""Uses of open_clip's internals: parts of its towers, and its lists of models and weights.

Models and stages use these functions and not the names of open_clip's modules. open_clip is imported inside the
functions that need it, because the import takes seconds. ``tests/unit/test_internals_open_clip.py`` tests what is
assumed about open_clip.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain2clip.internals.open_clip_files import Known, Tag
from brain2clip.internals.torch_attention import attended
from brain2clip.stage import InputError

#: Parts of the picture tower that are used here.
PARTS = ("class_embedding", "positional_embedding", "patch_size", "ln_pre", "transformer", "ln_post", "_pool", "proj")
#: Weights of a Transformer block: path of the module, name of the weight, label. q, k and v have one common weight.
WEIGHTS: dict[Literal["attention", "mlp"], tuple[tuple[str, str, str], ...]] = {
    "attention": (("attn", "in_proj_weight", "in_proj"), ("attn.out_proj", "weight", "out_proj")),
    "mlp": (("mlp.c_fc", "weight", "c_fc"), ("mlp.c_proj", "weight", "c_proj")),
}
#: Names of weight files in a repository of the hub.
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def needed(owner: Any, *names: str) -> None:
    """Check that an object of open_clip has the attributes that are used.

    Raises
    ------
    InputError
        If an attribute is missing: this version of open_clip is built differently.
    """
    if lacking := [name for name in names if not hasattr(owner, name)]:
        raise InputError(
            f"{type(owner).__name__} of open_clip {metadata.version('open_clip_torch')} has no "
            f"{' and no '.join(lacking)}, which brain2clip uses; `make env` installs a version that has it"
        )


# --------------------------------------------------------------------------------------------- picture tower


def is_vision_transformer(visual: Any) -> bool:
    """Whether a picture tower is open_clip's own Vision Transformer; only this one has the patch tokens used here."""
    return type(visual).__name__ == "VisionTransformer"


def driven(visual: Any) -> Any:
    """Return a Vision Transformer after a check that it has all parts that are used.

    Raises
    ------
    InputError
        If a part is missing.
    """
    needed(visual, *PARTS)
    needed(visual.transformer, "resblocks")
    return visual


def patch_embedding(visual: Any) -> nn.Conv2d:
    """Convolution of pictures to patch tokens: stride = kernel size, no bias."""
    needed(visual, "conv1")
    found: nn.Conv2d = visual.conv1
    return found


def patch_size(visual: Any) -> tuple[int, int]:
    """Height and width of a patch, pixels."""
    height, width = visual.patch_size
    return height, width


def width(visual: Any) -> int:
    """Size D of the tokens."""
    size: int = visual.positional_embedding.shape[-1]
    return size


def joint_width(visual: Any) -> int:
    """Size d of the joint embedding; without a projection it is the size of the tokens."""
    return width(visual) if visual.proj is None else int(visual.proj.shape[1])


def blocks(visual: Any) -> nn.ModuleList:
    """Blocks of the Transformer, from the pictures upwards."""
    found: nn.ModuleList = visual.transformer.resblocks
    return found


def through(block: Any, x: Tensor) -> Tensor:
    """Output [B, n, D] of a Transformer block.

    If gradients go through a frozen block, its attention is computed here. ``nn.MultiheadAttention`` multiplies with a
    transposed view, and if the weight needs no gradient, PyTorch then copies the weight once per token, forward and
    backward. On a CPU, values and gradients are bit for bit equal to those of the block itself (except for batches of
    two or three pictures in fp32, for which sums are taken in another order).
    """
    if not (torch.is_grad_enabled() and x.requires_grad and has_usual_attention(block)):
        out: Tensor = block(x)
        return out
    x = x + block.ls_1(attention(block.attn, block.ln_1(x)))
    passed: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return passed


def has_usual_attention(block: nn.Module) -> bool:
    """Whether a block is open_clip's ResidualAttentionBlock with self-attention by one weight for q, k and v.

    It must have no hooks either; an adapter from another library may add some.
    """
    attn = getattr(block, "attn", None)
    return (
        type(block).__name__ == "ResidualAttentionBlock"
        and all(hasattr(block, name) for name in ("ln_1", "ls_1", "ln_2", "ls_2", "mlp"))
        and isinstance(attn, nn.MultiheadAttention)
        and attn.batch_first
        and attn._qkv_same_embed_dim
        and attn.bias_k is None
        and not attn.add_zero_attn
        and not (attn.training and attn.dropout)
        and not any(one._forward_hooks or one._forward_pre_hooks for one in (block, attn, attn.out_proj))
    )


def attention(attn: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Self-attention of tokens [B, n, D] without a mask, by products with arrays [B n, D]."""
    tokens = F.linear(x.flatten(0, 1), attn.in_proj_weight, attn.in_proj_bias)
    query, key, value = tokens.view(*x.shape[:2], 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    seen = attended(query, key, value).transpose(1, 2).reshape(-1, x.shape[-1])
    return F.linear(seen, attn.out_proj.weight, attn.out_proj.bias).view_as(x)


def with_class_token(visual: Any, tokens: Tensor) -> Tensor:
    """Input of the first block [B, 1 + N, D] from patch tokens [B, N, D]."""
    first = visual.class_embedding.view(1, 1, -1).expand(len(tokens), -1, -1).to(tokens.dtype)
    x = torch.cat([first, tokens], dim=1)
    x = x + visual.positional_embedding.to(x.dtype)
    normalised: Tensor = visual.ln_pre(x)
    return normalised


def patch_grid(visual: Any) -> tuple[int, int]:
    """Rows and columns of the patches."""
    needed(visual, "grid_size")
    rows, columns = visual.grid_size
    return rows, columns


def normed(visual: Any, x: Tensor) -> Tensor:
    """Apply the last layer norm to the output [B, 1 + N, D] of the blocks."""
    found: Tensor = visual.ln_post(x)
    return found


def mean_of_patches(visual: Any, x: Tensor) -> Tensor:
    """Mean [B, D] of the patch tokens after the last layer norm, from the output [B, 1 + N, D] of the blocks."""
    return normed(visual, x)[:, 1:].mean(dim=1)


def pooled(visual: Any, x: Tensor) -> Tensor:
    """The tower's own pooling [B, D] of the output [B, 1 + N, D] of its blocks."""
    found: Tensor = visual._pool(x)[0]
    return found


def projected(visual: Any, pooled: Tensor) -> Tensor:
    """Embedding [B, d] of the pooled output [B, D]."""
    return pooled if visual.proj is None else pooled @ visual.proj


def projection(visual: Any) -> tuple[nn.Module, str] | None:
    """Module and name of the weight [D, d] that projects the pooled output to the embedding; None if there is none."""
    return None if visual.proj is None else (visual, "proj")


def weights(block: nn.Module, part: Literal["attention", "mlp"]) -> list[tuple[nn.Module, str, str]] | None:
    """Modules of a Transformer block with the names of their weights, and a label for each.

    None if the block is not built like open_clip's ResidualAttentionBlock.
    """
    try:
        found = [(block.get_submodule(path), name, label) for path, name, label in WEIGHTS[part]]
    except AttributeError:
        return None
    return found if all(isinstance(getattr(module, name, None), Tensor) for module, name, _ in found) else None


# ------------------------------------------------------------------------------------------------ text tower


def token_embedding(clip: Any) -> nn.Embedding | None:
    """Table of token embeddings of a model (``CLIP`` or ``CustomTextCLIP``); None if its text tower has none."""
    owner = clip if hasattr(clip, "token_embedding") else getattr(clip, "text", None)
    found = getattr(owner, "token_embedding", None)
    return found if isinstance(found, nn.Embedding) else None


def byte_symbols() -> dict[int, str]:
    """The symbol that stands for each byte in a vocabulary of ``SimpleTokenizer``."""
    from open_clip.tokenizer import bytes_to_unicode

    symbols: dict[int, str] = bytes_to_unicode()
    return symbols


# ------------------------------------------------------------------------------------ what is known of a model


def normalisation(model: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [3, 1, 1] with which the model's own transform normalises pictures."""
    needed(model.visual, "preprocess_cfg")
    known = model.visual.preprocess_cfg
    return torch.tensor(known["mean"]).reshape(3, 1, 1), torch.tensor(known["std"]).reshape(3, 1, 1)


def picture_size(model: Any) -> tuple[int, int]:
    """Height and width of the pictures that a model takes, pixels."""
    needed(model.visual, "image_size")
    size = model.visual.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def known() -> Known:
    """All models and tags of the imported open_clip."""
    import open_clip

    configs = {name: open_clip.get_model_config(name) or {} for name in open_clip.list_models()}
    tags: dict[str, dict[str, Tag]] = {}
    for model, tag in open_clip.list_pretrained():
        found = open_clip.get_pretrained_cfg(model, tag)
        given = found.get("hf_hub", ""), bool(found.get("quick_gelu", False)), found.get("url", "")
        tags.setdefault(model, {})[tag] = Tag(*given)
    return Known({name: bool(one.get("quick_gelu", False)) for name, one in configs.items()}, tags)


def on_hub(model: str, tag: str | None) -> tuple[str, tuple[str, ...]]:
    """Repository of the weights on the model hub (empty if there is none), and possible names of their file."""
    import open_clip

    hub = (open_clip.get_pretrained_cfg(model, tag) or {}).get("hf_hub", "")
    repository, _, file = hub.rpartition("/")  # 'owner/name/' or 'owner/name/file'
    return repository, (file,) if file else FILES
