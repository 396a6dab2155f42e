"""Uses of open_clip's internals: parts of its towers, and its lists of models and weights.

Models and stages ask here and know no name of open_clip's modules. open_clip itself is imported where it is needed
only: that takes seconds. What is taken for granted is in ``tests/unit/test_internals_open_clip.py``.
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

#: What the picture tower is driven with.
PARTS = ("class_embedding", "positional_embedding", "patch_size", "ln_pre", "transformer", "ln_post", "_pool", "proj")
#: Weights of a Transformer block: path of the module, name of the weight, label. Those of q, k and v are one.
WEIGHTS: dict[Literal["attention", "mlp"], tuple[tuple[str, str, str], ...]] = {
    "attention": (("attn", "in_proj_weight", "in_proj"), ("attn.out_proj", "weight", "out_proj")),
    "mlp": (("mlp.c_fc", "weight", "c_fc"), ("mlp.c_proj", "weight", "c_proj")),
}
#: Names of weight files in a repository of the hub.
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def needed(owner: Any, *names: str) -> None:
    """Look whether an object has what is used of it.

    Raises
    ------
    InputError
        Where open_clip does not build it as it did.
    """
    if lacking := [name for name in names if not hasattr(owner, name)]:
        raise InputError(
            f"{type(owner).__name__} of open_clip {metadata.version('open_clip_torch')} has no "
            f"{' and no '.join(lacking)}, which brain2clip uses; `make env` installs a version that has it"
        )


# --------------------------------------------------------------------------------------------- picture tower


def is_vision_transformer(visual: Any) -> bool:
    """Whether a picture tower is open_clip's own Vision Transformer: only that one has patch tokens."""
    return type(visual).__name__ == "VisionTransformer"


def driven(visual: Any) -> Any:
    """A Vision Transformer that has all that it is driven with.

    Raises
    ------
    InputError
        Where a part is missing.
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
    """D, size of the tokens."""
    size: int = visual.positional_embedding.shape[-1]
    return size


def joint_width(visual: Any) -> int:
    """Size of the joint embedding, d; that of the tokens in a tower without a projection."""
    return width(visual) if visual.proj is None else int(visual.proj.shape[1])


def blocks(visual: Any) -> nn.ModuleList:
    """Blocks of the Transformer, from the pictures upwards."""
    found: nn.ModuleList = visual.transformer.resblocks
    return found


def through(block: Any, x: Tensor) -> Tensor:
    """Output [B, n, D] of a Transformer block.

    Where gradients go through a frozen block, its attention is computed here: ``nn.MultiheadAttention`` hands its
    products a transposed view, and with a weight that wants no gradient PyTorch then copies the weight once per token,
    forward and backward. Values and gradients are the block's own, bit for bit on a CPU (but for batches of two or
    three pictures in fp32, whose copied products are summed in another order).
    """
    if not (torch.is_grad_enabled() and x.requires_grad and has_usual_attention(block)):
        out: Tensor = block(x)
        return out
    x = x + block.ls_1(attention(block.attn, block.ln_1(x)))
    passed: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return passed


def has_usual_attention(block: nn.Module) -> bool:
    """Whether a block is open_clip's ResidualAttentionBlock with self-attention by one weight for q, k and v.

    And nobody has hooked into it: an adapter from outside may.
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
    """Self-attention without a mask of tokens [B, n, D], by products of [B n, D]."""
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
    """Output [B, 1 + N, D] of the blocks after the last layer norm."""
    found: Tensor = visual.ln_post(x)
    return found


def mean_of_patches(visual: Any, x: Tensor) -> Tensor:
    """Mean patch [B, D] after the last layer norm, of the output [B, 1 + N, D] of the blocks."""
    return normed(visual, x)[:, 1:].mean(dim=1)


def pooled(visual: Any, x: Tensor) -> Tensor:
    """The tower's own pooling [B, D] of the output [B, 1 + N, D] of its blocks."""
    found: Tensor = visual._pool(x)[0]
    return found


def projected(visual: Any, pooled: Tensor) -> Tensor:
    """Embedding [B, d] of what was pooled."""
    return pooled if visual.proj is None else pooled @ visual.proj


def projection(visual: Any) -> tuple[nn.Module, str] | None:
    """Module and name of the weight [D, d] that takes what was pooled to the embedding; None: there is none."""
    return None if visual.proj is None else (visual, "proj")


def weights(block: nn.Module, part: Literal["attention", "mlp"]) -> list[tuple[nn.Module, str, str]] | None:
    """Modules of a Transformer block with the names of their weights, and a label for each.

    None where the block is not built as open_clip's ResidualAttentionBlock.
    """
    try:
        found = [(block.get_submodule(path), name, label) for path, name, label in WEIGHTS[part]]
    except AttributeError:
        return None
    return found if all(isinstance(getattr(module, name, None), Tensor) for module, name, _ in found) else None


# ------------------------------------------------------------------------------------------------ text tower


def token_embedding(clip: Any) -> nn.Embedding | None:
    """Table of token embeddings of a model (``CLIP`` or ``CustomTextCLIP``); None where the text tower is another's."""
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
    """Mean and standard deviation [3, 1, 1] that the model's own transform normalises pictures with."""
    needed(model.visual, "preprocess_cfg")
    known = model.visual.preprocess_cfg
    return torch.tensor(known["mean"]).reshape(3, 1, 1), torch.tensor(known["std"]).reshape(3, 1, 1)


def picture_size(model: Any) -> tuple[int, int]:
    """Height and width of the pictures that a model takes, pixels."""
    needed(model.visual, "image_size")
    size = model.visual.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def known() -> Known:
    """All models and tags, of the open_clip that is imported."""
    import open_clip

    configs = {name: open_clip.get_model_config(name) or {} for name in open_clip.list_models()}
    tags: dict[str, dict[str, Tag]] = {}
    for model, tag in open_clip.list_pretrained():
        found = open_clip.get_pretrained_cfg(model, tag)
        given = found.get("hf_hub", ""), bool(found.get("quick_gelu", False)), found.get("url", "")
        tags.setdefault(model, {})[tag] = Tag(*given)
    return Known({name: bool(one.get("quick_gelu", False)) for name, one in configs.items()}, tags)


def on_hub(model: str, tag: str | None) -> tuple[str, tuple[str, ...]]:
    """Repository of the weights on the model hub (empty: not there) and the names that their file may have."""
    import open_clip

    hub = (open_clip.get_pretrained_cfg(model, tag) or {}).get("hf_hub", "")
    repository, _, file = hub.rpartition("/")  # 'owner/name/' or 'owner/name/file'
    return repository, (file,) if file else FILES
