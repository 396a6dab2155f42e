"""Learned context before a class name, through the frozen CLIP text tower (CoOp: Zhou et al., IJCV 2022).

The tower is open_clip's own: its ``encode_text`` runs as it is, only the embeddings of the tokens at the places of the
context are put in the place of those of its vocabulary. So position embedding, mask, pooling and projection are those
of the model; with the embeddings of real tokens the result equals the real prompt, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brain2clip.internals import open_clip
from brain2clip.stage import InputError


class ContextPrompt(nn.Module):
    """Prompts ``[SOS][context x m][name]. [EOS]`` to text embeddings.

    Parameters
    ----------
    clip : nn.Module
        An open_clip model; frozen here.
    context : Tensor [m, D]
        Start of the context.
    """

    def __init__(self, clip: Any, context: Tensor) -> None:
        super().__init__()
        self.clip: Any = clip.eval().requires_grad_(False)
        self.context = nn.Parameter(context.clone())

    @classmethod
    def random(cls, clip: Any, tokens: int) -> ContextPrompt:
        """Context drawn with the deviation 0.02 of CLIP's own token embeddings at their start."""
        embedding = token_embedding(clip)
        drawn = 0.02 * torch.randn(tokens, embedding.weight.shape[1])
        return cls(clip, drawn.to(embedding.weight.device))

    def forward(self, tokens: Tensor) -> Tensor:
        """Text embedding [n, d] of token ids [n, context length] from :func:`prompts_with_room`."""

        def put_in(_: nn.Module, __: Any, embedded: Tensor) -> Tensor:
            context = self.context.to(embedded.dtype).expand(len(embedded), -1, -1)
            return torch.cat([embedded[:, :1], context, embedded[:, 1 + context.shape[1] :]], dim=1)

        hook = token_embedding(self.clip).register_forward_hook(put_in)
        try:
            return self.clip.encode_text(tokens)
        finally:
            hook.remove()


def token_embedding(clip: Any) -> nn.Embedding:
    """Table of token embeddings of an open_clip model.

    Raises
    ------
    InputError
        Where the text tower is another library's.
    """
    found = open_clip.token_embedding(clip)
    if found is None:
        raise InputError(
            f"classifier.kind: context needs a text tower of open_clip; found a {type(clip).__name__} with "
            f"{type(getattr(clip, 'text', None)).__name__}. Take classifier.kind: ensemble or prompt"
        )
    return found


def prompts_with_room(tokenize: Callable[[list[str]], Tensor], names: Sequence[str], room: int) -> Tensor:
    """Token ids [n, context length] of ``name.`` with ``room`` places after the first token.

    Parameters
    ----------
    tokenize : callable
        Texts to token ids.
    names : sequence of str
        Names of classes.
    room : int
        m, number of places; the first token of the name stands there, because pooling looks at ids.

    Raises
    ------
    InputError
        Where a name does not fit behind the context.
    """
    tokens, padding = tokenize([f"{name}." for name in names]), tokenize([""])[0, -1]
    for name, ids in zip(names, tokens):
        if (ids[len(ids) - room :] != padding).any():
            raise InputError(
                f"classifier.tokens: {room} context tokens and the class name {name!r} are longer than the "
                f"{tokens.shape[1]} tokens of this tower; take fewer, or classifier.kind: ensemble"
            )
    return torch.cat([tokens[:, :1], tokens[:, 1:2].expand(-1, room), tokens[:, 1 : tokens.shape[1] - room]], dim=1)


def class_name(concept: str) -> str:
    """Words of a concept: ``football_helmet`` is a football helmet."""
    return concept.replace("_", " ").strip()
