"""Stage ``apply``: models of an experiment rank the test trials of another study's recordings.

The rows are those of the stage ``rank``, with a column more: ``seen``, whether the model was trained on the concept
that is asked for, on a picture of that name or with its pixels, or on the same picture of a public collection (as of
COCO). A zero-shot study is refused where it is, unless the settings allow it; any study where it is the picture of a
collection (``source_pictures: unseen``). New recordings without training trials are normalised as the training of the
model was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from brain2clip import artefact, stage
from brain2clip.readers import overlap
from brain2clip.responses.same_samples import Recordings
from brain2clip.retrieval import query_table, tasks
from brain2clip.retrieval.rank import queries_of
from brain2clip.settings import Retrieval, parse
from brain2clip.training.data import load_responses, open_stimuli, placed, stimuli_of
from brain2clip.training.inputs import chosen_for, normalised
from brain2clip.training.predict import Predictor

log = logging.getLogger("brain2clip")


def run(job: stage.Job) -> None:
    """Rank the candidates of the new study for its test responses."""
    own, of_model = job.settings["run"], job.settings["model"]
    tensors = artefact.read_tensors(job.input("checkpoint"), job.expects.get("train"))
    test = load_responses([job.input("responses")], "test", job.expects.get("responses"))
    test = chosen_for(job.settings["method"], test)
    if own["study"] != of_model["study"]:
        test = replace(test, recordings=named_apart(test.recordings, own["study"]))
    test = normalised(tensors, test, of_model["subject"])
    with open_stimuli(job.input("trained"), job.expects.get("trained")) as trained:
        known = Known.of(trained)
    with stimuli_of(job) as stimuli:
        test = placed(test, stimuli, job.input("stimuli"))
        candidates = tasks.candidate_rows(stimuli["split"].asstr()[:])
        given = (job.settings["method"], job.settings["tower"], tensors, test, stimuli, candidates)
        predictor = Predictor(*given, of_model["subject"])
        queries = queries_of(predictor, test, parse(Retrieval, job.settings["retrieval"]))
        seen = known.seen(stimuli)
        again = known.again(stimuli)
    rows = query_table.checked(job, queries)
    # A class is a concept itself.
    rows["seen"] = [seen.get(target, overlap.plain(target) in known.shown.concepts) for target in rows["target"]]
    log.info("apply: of %d queries %d ask for concepts that the model was trained on", len(rows), rows["seen"].sum())
    if rows["seen"].any() and job.settings.get("concepts") != "seen":
        names = sorted({target for target, is_seen in zip(rows["target"], rows["seen"]) if is_seen})
        raise stage.InputError(
            f"apply: {len(names)} of the stimuli or classes that the test of study {own['study']!r} asks for "
            f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''}) were in the training of the models of study "
            f"{of_model['study']!r}, by concept, by name of the picture, by its pixels or by its number in a public "
            "collection\n  expected none, for the "
            "test is zero-shot: leave them out of training, or set apply.*.concepts: seen; rows then say which they are"
        )
    if again:
        zero_shot = job.settings.get("concepts") != "seen"
        told = overlap.refusal("apply.*.study", again, of_model["study"], own["study"], zero_shot)
        if zero_shot or job.settings.get("source_pictures") == "unseen":
            raise stage.InputError(told)
        if again.collections_unknown:
            log.warning("apply: %s", told)
    test.recordings.note(rows)
    artefact.write_table(job.output("rows"), rows, job.provenance())


@dataclass(frozen=True)
class Known:
    """What a model was trained on.

    Attributes
    ----------
    shown : Shown
        Concepts, names of pictures, and source pictures.
    digests : frozenset of str
        Of the pixels of pictures.
    """

    shown: overlap.Shown
    digests: frozenset[str]

    @classmethod
    def of(cls, file: Any) -> Known:
        """Of the training stimuli of a stimuli artefact."""
        ids, concepts, images, digests, sides, sources = columns(file)
        rows = [row for row, side in enumerate(sides) if side in ("train", "both")]
        told = [sources[row] for row in rows]
        shown = overlap.shown(((ids[row], concepts[row], images[row]) for row in rows), told)
        return cls(shown, frozenset(digests[row] for row in rows) - {""})

    def seen(self, file: Any) -> dict[str, bool]:
        """Whether each stimulus of an artefact was in that training, by its id."""
        known = {one for one in self.shown.sources if not overlap.is_unknown(one)}
        return {
            stimulus_id: overlap.plain(concept) in self.shown.concepts
            or overlap.picture(stimulus_id, image) in self.shown.pictures
            or digest in self.digests
            or overlap.source_picture(stimulus_id, image, source) in known
            for stimulus_id, concept, image, digest, _, source in zip(*columns(file))
        }

    def again(self, file: Any) -> overlap.Shown:
        """Source pictures of that training that the test of an artefact shows, or may show."""
        ids, concepts, images, _, sides, sources = columns(file)
        rows = [row for row, side in enumerate(sides) if side in ("test", "both")]
        tested = overlap.shown(((ids[row], concepts[row], images[row]) for row in rows), [sources[row] for row in rows])
        return self.shown.shared(tested).only_sources()


def columns(file: Any) -> list[list[str]]:
    """Id, concept, path of the picture, digest of its pixels (empty without one), side and source picture of all."""
    names = ("stimulus_id", "concept", "image", "pixel_digest", "split", "source_picture")
    found = [file[name].asstr()[:].tolist() if name in file else [""] * len(file["stimulus_id"]) for name in names]
    found[3] = [digest if image else "" for digest, image in zip(found[3], found[2])]
    return found


def named_apart(recordings: Recordings, study: str) -> Recordings:
    """Recordings that no name tells to be those of training: of two studies each is compared with each."""
    return replace(recordings, names=tuple(f"{study}: {name}" for name in recordings.names))


if __name__ == "__main__":
    stage.main(run)
