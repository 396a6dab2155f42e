"""A mapping network into the frozen CLIP space under image and text supervision: BrainCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from brain2clip.models.context import ContextPrompt, class_name, prompts_with_room
from brain2clip.models.mapping_network import MappingNetwork
from brain2clip.models.parameters import restore, trainable
from brain2clip.models.readout import ReadoutModule
from brain2clip.settings import BrainMapping
from brain2clip.stage import InputError
from brain2clip.training import classifier, folds, targets
from brain2clip.training.augmentation import Mixture, disturb, draw_mixture
from brain2clip.training.data import Pairs, Responses, pairs
from brain2clip.training.loop import fit, loop
from brain2clip.training.method import Checkpoint, Study, Trained
from brain2clip.training.objective import keep_scale
from brain2clip.training.supervision import Targets
from brain2clip.training.texts import NO_TEXT_CENTRE, prompts

#: Similarities closer than this are equal: stimuli that share their text cannot be told apart by it.
TIE = 1e-6
#: Class names that go through the text tower at once.
AT_ONCE = 512


class Method:
    """Mapping network, what was taken away from its targets, and the context of its classifier.

    Parameters
    ----------
    settings : BrainMapping
    """

    def __init__(self, settings: BrainMapping) -> None:
        self.settings = settings

    def train(self, study: Study) -> tuple[dict[str, Tensor], pd.DataFrame]:
        """Parameters of the network, centres and context, and a row per epoch."""
        settings, sets, device = self.settings, study.sets, study.device
        rows = np.unique(np.concatenate([one.stimulus for one in sets]))
        torch.manual_seed(study.seed)  # a readout that is learned draws its start, too
        sought = Targets.of(study.stimuli, settings.supervision, rows, device, settings.readout)
        model = build(settings, sets, study.subjects, sought.readout, device)
        learner = MappingLearner(model, settings, sought, study.subjects)
        concept = study.stimuli["concept"].asstr()[:]
        given = settings.optimiser, settings.selection, sets, concept, study.seed, device, study.classes
        history = fit(learner, *given)
        tensors = trainable(model) | sought.centres
        if settings.classifier.kind == "context":
            from brain2clip.stimuli import frozen_clip  # open_clip takes seconds to import: only where it is needed

            brains, stimulus = self._left_out(study, sought, len(history))
            tensors["context"] = classifier.learn_context(
                frozen_clip.load(study.tower, device), brains, concept[stimulus], model.scale, sought.text_centre,
                settings.classifier, study.seed, balanced=study.classes is not None,
            )  # fmt: skip
        return tensors, history

    def _left_out(self, study: Study, sought: Targets, epochs: int) -> tuple[Tensor, np.ndarray]:
        """Embeddings [n, d] of training responses by networks that did not see them, and the stimulus of each.

        The mapping fits its own training responses far better than it predicts others: a context that is trained on
        those fits would be made for predictions that no test has.
        """
        concept = study.stimuli["concept"].asstr()[:]
        concepts = concept[np.concatenate([one.stimulus for one in study.sets])]
        count, found = self.settings.classifier.folds, []
        for kept, left_out in folds.folds(count, concepts, "classifier.folds"):
            torch.manual_seed(study.seed)
            model = build(self.settings, study.sets, study.subjects, sought.readout, study.device)
            learner = MappingLearner(model, self.settings, sought, study.subjects)
            data = pairs(study.sets, kept, study.device, study.classes)
            loop(learner, self.settings.optimiser, data, study.seed, stop_after=epochs)
            found.append(learner.embed(pairs(study.sets, left_out, study.device)))
        return torch.cat([brains for brains, _ in found]), np.concatenate([stimulus for _, stimulus in found])

    def ready(self, checkpoint: Checkpoint) -> Mapped:
        """The network with the parameters of a checkpoint."""
        return Mapped(self.settings, checkpoint)


def build(
    settings: BrainMapping,
    sets: Sequence[Responses],
    subjects: Sequence[str] | None,
    readout: ReadoutModule,
    device: torch.device,
) -> MappingNetwork:
    """A fresh network from these responses to what a readout gives; a joint one where ``subjects`` names theirs."""
    sizes = [int(np.prod(one.values.shape[1:])) for one in sets]
    inputs = sizes[0] if subjects is None else dict(zip(subjects, sizes))
    return MappingNetwork(settings.network, settings.supervision, inputs, readout.width, readout).to(device)


class MappingLearner:
    """Contrast with image and text.

    Parameters
    ----------
    model : MappingNetwork
    settings : BrainMapping
    targets : Targets
    subjects : sequence of str or None
        Whose each set of responses is; None where one network takes them all.
    """

    def __init__(
        self, model: MappingNetwork, settings: BrainMapping, targets: Targets, subjects: Sequence[str] | None
    ) -> None:
        self.model, self.settings, self.targets, self.subjects = model, settings, targets, subjects
        self.frozen_epochs = 0
        self.soft: float | None = None

    def parameter_groups(self) -> list[dict]:
        """All parameters; vectors do not decay."""
        return self.model.parameter_groups(self.settings.optimiser.lr)

    def once(self, data: Pairs, rng: np.random.Generator) -> Pairs:
        """As they are: what is drawn on responses is drawn in every step."""
        return data

    def begin(self, epoch: int) -> None:
        """Temperature of SoftCLIP in this epoch, where that is on; else every epoch is like the first."""
        if self.settings.supervision.softclip is not None:
            self.soft = self.settings.supervision.softclip.temperature(epoch, self.settings.optimiser.epochs)

    def measured(self) -> dict[str, float]:
        """Nothing beyond what every history has."""
        return {}

    def settle(self) -> None:
        """Keep the scale in its range."""
        keep_scale(self.model.scale)

    def loss(self, data: Pairs, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Loss of a batch."""
        taken = data.take(rows)
        mixture = self._mixture([len(own) for _, own, _ in taken])
        entered, start = [], 0
        for number, own, responses in taken:
            if mixture is not None:
                within = slice(start, start + len(own))
                responses = Mixture(mixture.share[within], mixture.partner[within] - start).of(responses)
            if self.model.training:
                responses = disturb(responses, self.settings.augmentation)
            entered.append(self._enter(number, responses))
            start += len(own)
        z, own_loss = self.model.shared(torch.cat(entered))
        stimulus = data.stimulus[np.concatenate([own for _, own, _ in taken])]
        loss = self.targets.loss(z, stimulus, self.model.scale, self.settings.supervision, rng, mixture, self.soft)
        return loss if own_loss is None else loss + own_loss

    def _mixture(self, sizes: Sequence[int]) -> Mixture | None:
        """MixCo of a batch; partners are of the same subject, whose inputs are the same voxels. None in SoftCLIP."""
        augmentation = self.settings.augmentation
        if not augmentation.mixco or self.soft is not None or not self.model.training:
            return None
        device = self.model.scale.device
        drawn = [draw_mixture(size, augmentation.mixco, device, augmentation.mixed) for size in sizes]
        starts = np.cumsum([0, *sizes[:-1]])
        return Mixture(
            torch.cat([one.share for one in drawn]),
            torch.cat([one.partner + int(start) for one, start in zip(drawn, starts)]),
        )

    def _enter(self, number: int, responses: Tensor) -> Tensor:
        return self.model.enter(responses, None if self.subjects is None else self.subjects[number])

    @torch.inference_mode()
    def embed(self, data: Pairs) -> tuple[Tensor, np.ndarray]:
        """Embeddings [n, d] of all responses as in tests, and the stimulus of each."""
        self.model.eval()
        taken = data.take(np.arange(len(data.stimulus)))
        z = torch.cat([self.model.shared(self._enter(number, values))[0] for number, _, values in taken])
        return z, data.stimulus[np.concatenate([own for _, own, _ in taken])]

    def top1(self, data: Pairs) -> float:
        """Share of responses to whose own stimulus none of the set is preferred, by image and text as in the loss."""
        z, stimulus = self.embed(data)
        distinct, target = np.unique(stimulus, return_inverse=True)
        scores = self.targets.similarity(z, distinct, self.settings.supervision).cpu().numpy()
        own = scores[np.arange(len(target)), target]
        return float((own >= scores.max(axis=1) - TIE).mean())


class Mapped(Trained):
    """Mapping network into the CLIP space, or that of a readout; its candidates are frozen vectors."""

    def __init__(self, settings: BrainMapping, checkpoint: Checkpoint) -> None:
        self.settings, self.tower, self.file = settings, checkpoint.tower, checkpoint.stimuli
        self.device, self.subject = checkpoint.device, checkpoint.subject
        self.tensors = {name: tensor.to(self.device) for name, tensor in checkpoint.tensors.items()}
        subjects = None if self.subject is None else [self.subject]  # of a joint model one input layer is enough
        self.readout = targets.of(settings.readout, self.file)
        self.network = build(settings, [checkpoint.responses], subjects, self.readout, self.device)
        restore(self.network, self.tensors)
        if settings.supervision.centre:
            self.centre = self.tensors["stimulus_centre"]

    def brains(self, responses: Tensor) -> Tensor:
        """Embedding of responses."""
        return self.network(responses, self.subject)[0]

    def stimuli(self, rows: np.ndarray) -> Tensor:
        """Readout of frozen vectors of pictures."""
        vectors = [one.to(self.device) for one in targets.vectors(self.settings.readout, self.file, rows)]
        return self._placed(self.readout(vectors))

    def texts(self, unit: Tensor) -> Tensor:
        """Frozen embedding of texts."""
        unit = F.normalize(unit.to(self.device).float(), dim=-1)
        if not self.settings.supervision.centre:
            return self.readout.of_texts(unit)
        if "text_centre" not in self.tensors:
            raise InputError(NO_TEXT_CENTRE.format(who="supervision.centre"))
        return self.readout.of_texts(unit - self.tensors["text_centre"], centred=True)

    def classes(self, concepts: list[str], rows: np.ndarray) -> Tensor:
        """Text side of the classifier: first prompt, mean prompt, or learned context before the name."""
        kind = self.settings.classifier.kind
        if kind == "context":
            return self.texts(self._in_context(concepts))
        if kind == "prompt" or kind == "ensemble":
            return self.texts(torch.from_numpy(prompts(self.file, rows, first=kind == "prompt")))
        assert_never(kind)

    def _in_context(self, concepts: list[str]) -> Tensor:
        """Unit-length embeddings of class names behind the learned context."""
        from brain2clip.stimuli import frozen_clip  # open_clip takes seconds to import: only where it is needed

        clip, context = frozen_clip.load_shared(self.tower, self.device), self.tensors["context"]
        tokens = prompts_with_room(clip.tokenize, [class_name(name) for name in concepts], len(context))
        prompt = ContextPrompt(clip.model, context)
        parts = [prompt(part.to(self.device)) for part in tokens.split(AT_ONCE)]
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def _placed(self, embedding: Tensor) -> Tensor:
        """Unit length, and without the mean of the training pictures where the method centres."""
        unit = F.normalize(embedding.to(self.device).float(), dim=-1)
        return unit - self.tensors["stimulus_centre"] if self.settings.supervision.centre else unit
