"""Image and text supervision of a mapping network.

``(1 - text) L(z, image) + text L(z, sentence) + kl KL(posterior | N(0, 1))``, L being symmetric InfoNCE in which equal
targets of a batch share the mass (the paper's own equations are not public; docs/protocols.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import OneVector, ReadoutBase, Supervision
from brain2clip.training import targets
from brain2clip.training.augmentation import Mixture
from brain2clip.training.data import Stimuli
from brain2clip.training.objective import cross_entropy, logits
from brain2clip.training.texts import Texts


def shared_targets(identity: Tensor) -> Tensor:
    """Target distributions [B, B] of responses over the targets of a batch: even over those of one identity [B]."""
    same = (identity[:, None] == identity[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def contrast(z: Tensor, target: Tensor, identity: Tensor, scale: Tensor, mixture: Mixture | None = None) -> Tensor:
    """Symmetric InfoNCE with several positives.

    Parameters
    ----------
    z, target : Tensor [B, d]
        Row i of ``target`` belongs to row i of ``z``.
    identity : Tensor [B]
        Equal where targets are the same.
    scale : Tensor
        Logarithm of the scale, which is kept within [1, 100].
    mixture : Mixture, optional
        Then both targets of a mixed response are positives, by their shares.

    Returns
    -------
    Tensor
        Scalar: mean cross-entropy over rows and over columns.
    """
    rows = shared_targets(identity)
    if mixture is not None:
        rows = mixture.of(rows)
    return cross_entropy(logits(z, target, scale, "both"), rows, rows / rows.sum(dim=0, keepdim=True))


def fixed_scale(temperature: float, device: torch.device) -> Tensor:
    """Logarithm of the scale that divides by a temperature."""
    return torch.tensor(-math.log(temperature), device=device)


def soft_contrast(z: Tensor, target: Tensor, temperature: float) -> Tensor:
    """SoftCLIP: the similarities of targets among themselves are what those of responses and targets should be.

    Parameters
    ----------
    z, target : Tensor [B, d]
        Row i of ``target`` belongs to row i of ``z``.
    temperature : float
        tau of both: softmax(t t' / tau) is the target of softmax(z t' / tau), in both directions.

    Returns
    -------
    Tensor
        Scalar: mean cross-entropy over rows and over columns.
    """
    unit = F.normalize(target.float(), dim=-1)
    soft = (unit @ unit.T / temperature).softmax(dim=-1)
    return cross_entropy(F.normalize(z.float(), dim=-1) @ unit.T / temperature, soft, soft.T)


def centres_of(image: Tensor, texts: Texts, rows: np.ndarray) -> dict[str, Tensor]:
    """Mean [d] of the images of training stimuli ``rows``, and of their texts where one of them has any."""
    spoken = texts.centre(rows)
    return {"stimulus_centre": image[rows].mean(dim=0)} | (
        {} if spoken is None else {"text_centre": torch.from_numpy(spoken)}
    )


@dataclass(frozen=True)
class Targets:
    """What responses are mapped to, by row of the stimulus table, on the device.

    Attributes
    ----------
    vectors : list of Tensor [n, d_i]
        Frozen vectors that the readout takes: the embedding of the picture (of the prompts where a study has none), or
        others.
    readout : ReadoutModule
        From these to what is predicted; of the network, where it is learned.
    image_identity : Tensor [n]
        Equal where vectors are.
    texts : Texts
        Sentences by row.
    sentence : Tensor [m, d]
        Embedding of every sentence, centred where asked for.
    centres : dict
        ``stimulus_centre`` and ``text_centre`` [d], what was taken away; for the checkpoint.
    """

    vectors: list[Tensor]
    readout: ReadoutModule
    image_identity: Tensor
    texts: Texts
    sentence: Tensor
    centres: dict[str, Tensor]

    @property
    def text_centre(self) -> Tensor | None:
        """What was taken away from sentences, on the device."""
        centre = self.centres.get("text_centre")
        return None if centre is None else centre.to(self.sentence.device)

    @classmethod
    def of(
        cls,
        stimuli: Stimuli,
        settings: Supervision,
        rows: np.ndarray,
        device: torch.device,
        readout: ReadoutBase | None = None,
        fitted: ReadoutModule | None = None,
    ) -> Targets:
        """Targets from a stimuli artefact; means and fits are over the training stimuli ``rows`` only.

        Without a readout they are the embeddings. ``fitted`` is a readout that was fitted already, to others.

        Raises
        ------
        InputError
            Where a training stimulus has no sentence and ``text`` is above 0.
        """
        texts = Texts(stimuli, settings.sentences)
        if settings.text > 0:
            texts.require(rows, f"supervision.text: {settings.text:g}")
        readout = OneVector() if readout is None else readout
        vectors = targets.vectors(readout, stimuli)
        module = targets.fitted(readout, stimuli, rows) if fitted is None else fitted
        sentence = torch.from_numpy(texts.embedding)
        _, identity = np.unique(torch.cat(vectors, dim=1).numpy(), axis=0, return_inverse=True)
        centres = {}
        if settings.centre:
            with torch.no_grad():
                centres = centres_of(F.normalize(module(vectors), dim=-1), texts, rows)
        if "text_centre" in centres:
            sentence = sentence - centres["text_centre"]
        number = torch.from_numpy(identity.reshape(-1))
        on_device = [one.to(device) for one in vectors]
        return cls(on_device, module.to(device), number.to(device), texts, sentence.to(device), centres)

    def image(self, rows: Tensor | slice) -> Tensor:
        """Readout [n, d] of the pictures of some rows, of unit length, centred where asked for."""
        unit = F.normalize(self.readout([one[rows] for one in self.vectors]).float(), dim=-1)
        centre = self.centres.get("stimulus_centre")
        return unit if centre is None else unit - centre.to(unit.device)

    def loss(
        self,
        z: Tensor,
        stimulus: np.ndarray,
        scale: Tensor,
        settings: Supervision,
        rng: np.random.Generator,
        mixture: Mixture | None = None,
        soft: float | None = None,
    ) -> Tensor:
        """Weighted contrast of embeddings [B, d] with the images and with one sentence each of stimuli [B].

        A weight of 0 leaves its part out altogether. All responses to a stimulus get the same sentence. ``soft`` is the
        temperature of SoftCLIP, where that is on.
        """
        if settings.temperature is not None:
            scale = fixed_scale(settings.temperature, z.device)

        def compared(target: Tensor, identity: Tensor) -> Tensor:
            if soft is not None:
                return soft_contrast(z, target, soft)
            return contrast(z, target, identity, scale, mixture)

        own = torch.from_numpy(stimulus).to(z.device)
        parts = []
        if settings.text < 1:
            identity = self.image_identity[own] if settings.multi_positive else own
            parts.append((1 - settings.text) * compared(self.image(own), identity))
        if settings.text > 0:
            distinct, place = np.unique(stimulus, return_inverse=True)
            drawn = torch.from_numpy(self.texts.draw(distinct, rng)[place]).to(z.device)
            identity = drawn if settings.multi_positive else own
            parts.append(settings.text * compared(self.sentence[drawn], identity))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def similarity(self, z: Tensor, rows: np.ndarray, settings: Supervision) -> Tensor:
        """Cosine [B, len(rows)] to image and mean sentence of stimuli, weighted as the loss is."""
        unit = F.normalize(z.float(), dim=-1)
        image = unit @ F.normalize(self.image(torch.from_numpy(rows).to(z.device)), dim=-1).T
        if settings.text == 0:
            return image
        mean = torch.from_numpy(self.texts.means(rows)).to(z.device)
        if self.text_centre is not None:
            mean = mean - self.text_centre
        return (1 - settings.text) * image + settings.text * (unit @ F.normalize(mean, dim=-1).T)
