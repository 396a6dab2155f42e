"""Published datasets of EEG and MEG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from brain2clip.settings.base import Filled
from brain2clip.settings.study_base import (
    EegStudyBase,
    Extent,
    Labels,
)


class ThingsEeg2Study(EegStudyBase):
    """THINGS-EEG2 (Gifford et al. 2022) from its BIDS version, NEMAR nm000232, downloaded file by file."""

    stimuli_read: ClassVar[frozenset[str] | None] = frozenset({"kind", "manifest", "images"})

    renamed: ClassVar[dict[str, str]] = {"signal": "source"}

    kind: Literal["things_eeg2"] = "things_eeg2"
    subjects: Labels | Literal["all"] = Field("all", description="labels 01 to 10")
    sessions: Labels | Literal["all"] = Field("all", description="recording sessions, labels 01 to 04")
    runs: Labels | Literal["all"] = Field(
        "all", description="training runs of each session, labels 01 to 05; the test run is always read"
    )
    source: Literal["raw", "preprocessed"] = Field(
        "raw",
        description="raw: the recordings (6 GB per subject); preprocessed: the dataset authors' own epochs (about "
        "1 GB per subject: 17 channels, 100 Hz, already whitened, fitted to test trials, too)",
    )
    manifest: Filled = Field(
        "workflow/manifests/things-eeg2.csv", description="what to download: path, size, hash, url"
    )
    images: Filled = Field(
        "workflow/manifests/things-eeg2-images.csv",
        description="number, split, folder, file name of each picture; the unpacked archives are checked against it",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures from the dataset's archives."""
        return frozenset({"pictures"})

    @property
    def part(self) -> str | None:
        """A run shows a tenth of the training pictures, a session half of them."""
        if self.runs != "all":
            return f"runs: {list(self.runs)}"
        return f"sessions: {list(self.sessions)}" if self.sessions != "all" and len(self.sessions) == 1 else None

    @property
    def test_rows_used(self) -> str | None:
        """What the authors did before they published epochs."""
        if self.source != "preprocessed":
            return None
        return "The dataset authors' whitening of these epochs was fitted to test trials, too."

    @property
    def extent(self) -> Extent | None:
        """16,540 pictures four times and 200 pictures eighty times over four sessions of five training runs."""
        sessions = 4 if self.sessions == "all" else len(self.sessions)
        runs = 5 if self.runs == "all" else len(self.runs)
        pictures = (16540 * min(2, sessions) * runs // 10, 200)
        return Extent((3308 * sessions * runs, 4000 * sessions), pictures, 1000.0, 63, (1654, 200))

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """One run of one session."""
        sessions = ["01"] if self.sessions == "all" else list(self.sessions[:1])
        runs = ["01"] if self.runs == "all" else list(self.runs[:1])
        return {**super().smaller(subjects), "sessions": sessions, "runs": runs}


class ThingsEeg1Study(EegStudyBase):
    """THINGS-EEG1 (Grootswagers et al. 2022) from OpenNeuro ds003825, downloaded file by file."""

    stimuli_read: ClassVar[frozenset[str] | None] = frozenset({"kind", "test", "pictures", "manifest", "test_concepts"})

    kind: Literal["things_eeg1"] = "things_eeg1"
    subjects: Labels | Literal["all"] = Field(
        "all",
        description="labels 01 to 50; all: without the four that the authors exclude (01, 06, 18, 23). 49 and 50 "
        "have caps of 128 channels, the other subjects caps of 63: for models across subjects list in "
        "responses.channels the channels that all subjects have",
    )
    test: Literal["concepts", "block"] = Field(
        "concepts",
        description="test trials. concepts: pictures of the 200 test concepts of THINGS-EEG2 among the 22,248 main "
        "trials; block: the test block (200 pictures, 12 times each). Training leaves out all concepts of the test",
    )
    targets: Literal["keep", "drop"] = Field(
        "drop",
        description="whether to keep pictures during which the fixation point changed, which asked for a key press",
    )
    pictures: Filled | None = Field(
        None,
        description="folder of the THINGS pictures, <folder>/<concept>/<file>.jpg, which are on request; null: "
        "text prompts of the concepts are the candidates",
    )
    manifest: Filled = Field(
        "workflow/manifests/things-eeg1.csv", description="what to download: path, size, hash, url"
    )
    test_concepts: Filled = Field(
        "workflow/manifests/things-eeg2-images.csv",
        description="table of the 1854 concepts (columns split, concept_folder); those of split test are the test "
        "concepts",
    )

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures, where their folder is given."""
        return frozenset({"pictures"} if self.pictures else ())

    @property
    def extent(self) -> Extent | None:
        """12 pictures of each of 1,854 concepts once, and 200 pictures twelve times."""
        if self.test == "block":
            return Extent((22248 - 2400, 2400), (22248 - 2400, 200), 1000.0, 63, (1654, 200))
        return Extent((22248 - 2400, 2400), (22248 - 2400, 2400), 1000.0, 63, (1654, 200))

    def for_responses(self) -> dict[str, Any]:
        """As for every study; of pictures only whether there is a folder, because it decides what a stimulus is."""
        found = super().for_responses()
        return {**found, "pictures": found["pictures"] and "given"}


class ThingsMegStudy(EegStudyBase):
    """THINGS-MEG (Hebart et al. 2023) from OpenNeuro ds004212, downloaded file by file."""

    of_stimuli: ClassVar[frozenset[str]] = frozenset({"pictures"})
    stimuli_read: ClassVar[frozenset[str] | None] = frozenset({"kind", "pictures", "keep_test_concepts", "images"})

    kind: Literal["things_meg"] = "things_meg"
    subjects: Labels | Literal["all"] = Field("all", description="labels BIGMEG1 to BIGMEG4")
    sessions: Labels | Literal["all"] = Field("all", description="recording sessions, labels 01 to 12")
    runs: Labels | Literal["all"] = Field("all", description="runs of each session, labels 01 to 10")
    source: Literal["raw", "preprocessed"] = Field(
        "raw",
        description="raw: the recordings (62 GB per subject); preprocessed: the dataset authors' own epochs (8.25 GB "
        "per subject: 271 sensors, 0.1 to 40 Hz, z-score by the baseline, 200 Hz)",
    )
    epochs: Filled | None = Field(
        None,
        description="for source: preprocessed, folder of the authors' files preprocessed_P1-epo.fif and so on with "
        "their parts -1, -2, -3; null: they are downloaded, and the manifest must list derivatives/preprocessed",
    )
    keep_test_concepts: bool = Field(
        False,
        description="the 200 test pictures show concepts of training pictures. false: training trials of those "
        "concepts are left out (1,654 x 12 trials remain), so retrieval is zero-shot, as in the field; true: all "
        "22,248 trials are kept, as in NeuralBench, and reports say so",
    )
    onset: Literal["events", "trigger"] = Field(
        "events",
        description="source of picture onsets. events: events.tsv, which has the times of the optical sensor on the "
        "projector since version 2.0.0; trigger: the pulse of the channel UPPT001 that belongs to the event. The log "
        "of every recording gives the difference",
    )
    dropouts: Literal["median", "keep"] = Field(
        "median",
        description="two stretches of 0.2 s in which all sensors drop out (BIGMEG1 ses-11 run-05 at 13.4 s, BIGMEG2 "
        "ses-10 run-03 at 59.8 s). median: replaced with the median of each sensor before the filter, as the "
        "authors do; keep: left as recorded",
    )
    pictures: Filled | None = Field(
        None,
        description="folder of the THINGS pictures, <folder>/<concept>/<file>.jpg, which are on request; null: "
        "text prompts of the concepts are the candidates",
    )
    manifest: Filled = Field(
        "workflow/manifests/things-meg.csv.gz", description="what to download: path, size, hash, url"
    )
    images: Filled = Field(
        "workflow/manifests/things-meg-images.csv",
        description="number, kind (exp, test), concept number, file name of each picture",
    )

    @property
    def technique(self) -> Literal["eeg", "meg", "fmri"]:
        """Recordings of MEG."""
        return "meg"

    @model_validator(mode="after")
    def _whole_epochs(self) -> Self:
        if self.epochs is not None and self.source != "preprocessed":
            raise ValueError(
                "epochs: only source: preprocessed reads the authors' epochs; set source to that, or leave epochs out"
            )
        return self

    @property
    def has(self) -> frozenset[str] | None:
        """Pictures, where their folder is given."""
        return frozenset({"pictures"} if self.pictures else ())

    @property
    def n_stimuli(self) -> int | None:
        """All pictures, or all except training pictures of test concepts."""
        return 22448 if self.keep_test_concepts else 20048

    @property
    def part(self) -> str | None:
        """A session shows one picture of each concept, a run a tenth of them."""
        if self.runs != "all":
            return f"runs: {list(self.runs)}"
        return f"sessions: {list(self.sessions)}" if self.sessions != "all" else None

    @property
    def extent(self) -> Extent | None:
        """Twelve pictures of each concept once over twelve sessions, and 200 pictures in each of them."""
        share = (12 if self.sessions == "all" else len(self.sessions)) * (10 if self.runs == "all" else len(self.runs))
        concepts = 1854 if self.keep_test_concepts else 1654
        pictures = concepts * 12 * share // 120
        return Extent((pictures, 20 * share), (pictures, 200), 1200.0, 271, (concepts, 200))

    def smaller(self, subjects: Sequence[str]) -> dict[str, Any]:
        """Two runs of one session, which show a fifth of the concepts; the authors' epochs have all runs."""
        found = {**super().smaller(subjects), "first_concepts": 200}
        if self.source == "preprocessed":
            return found
        sessions = ["01"] if self.sessions == "all" else list(self.sessions[:1])
        runs = ["01", "02"] if self.runs == "all" else list(self.runs[:2])
        return {**found, "sessions": sessions, "runs": runs}
