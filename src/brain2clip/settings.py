"""Every setting of the pipeline as frozen pydantic classes: one block per stage, each field with its unit.

``load`` turns the merged YAML into a :class:`Config`: unknown keys fail with a suggestion, all errors are
reported at once, and values are coerced (8 and 8.0 are one value) before any stage sees them.
The JSON schema and ``docs/configuration.md`` are generated from these classes.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

NAME = r"^[A-Za-z0-9][A-Za-z0-9-]*$"
Name = Annotated[str, Field(pattern=NAME, description="letters, digits and hyphens: it becomes part of a path")]


class SettingsError(ValueError):
    """The configuration is wrong; the message lists every error found."""


class Block(BaseModel):
    """Base of all blocks: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ------------------------------------------------------------------------------------------------ bands


class Band(Block):
    """A named filter band of the brain signal; its name is part of every path that depends on it."""

    l_freq: float | None = Field(None, ge=0, description="high-pass edge in Hz (null: none beyond the recording's own)")
    h_freq: float | None = Field(None, gt=0, description="low-pass edge in Hz (null: none beyond anti-aliasing)")
    notch: tuple[float, ...] = Field((), description="mains frequencies in Hz to notch out, e.g. [50, 100]")

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise ValueError(
                f"l_freq ({self.l_freq} Hz) must be below h_freq ({self.h_freq} Hz); "
                "a band keeps what lies between them"
            )
        return self


class Roi(Block):
    """A named set of voxels; for fMRI it stands where a band stands for EEG, in paths as well."""

    include: tuple[str, ...] = Field(
        (), description="names of regions in the dataset whose voxels are taken (none: all)"
    )
    exclude: tuple[str, ...] = Field((), description="names of regions whose voxels are left out")


# -------------------------------------------------------------------------------------------- responses


class Whitening(Block):
    """Normalisation of single trials, fitted per recording session on training trials only."""

    kind: Literal["mvnn", "zscore", "robust", "none"] = Field(
        "mvnn",
        description="mvnn: multivariate noise normalisation, inverse root of the Ledoit-Wolf covariance of single "
        "training epochs; zscore: per channel mean and standard deviation; robust: per channel median and "
        "interquartile range; none",
    )
    clamp: float | None = Field(
        None, gt=0, description="values beyond +/- this many units are set to it (null: no clamp)"
    )


class Repetitions(Block):
    """What happens to presentations of a picture beyond the intended number."""

    train: int | None = Field(
        None, ge=1, description="training trials kept per picture and recording session (null: all)"
    )
    test: int | None = Field(None, ge=1, description="test trials kept per picture and recording session (null: all)")
    rule: Literal["first", "random", "shuffle"] = Field(
        "first",
        description="which trials are kept: the first in time; a seeded random draw; or, as the code of the "
        "THINGS-EEG2 papers does, the first of scikit-learn's shuffle with the same seed for every picture",
    )
    seed: int = Field(20200220, description="seed of the random draw and of the shuffle")


class Responses(Block):
    """From continuous recording to single-trial brain responses."""

    tmin: float = Field(-0.2, description="start of the epoch relative to picture onset, s")
    tmax: float = Field(0.8, description="end of the epoch relative to picture onset, s (this sample is left out)")
    baseline: tuple[float | None, float | None] | None = Field(
        (None, 0.0), description="window whose mean is subtracted, s (null: none; null inside: the epoch's end)"
    )
    crop: tuple[float, float] | None = Field(
        None, description="part of the epoch that is kept after baseline correction, s (null: all)"
    )
    sfreq: float = Field(100.0, gt=0, description="sampling rate of the responses, Hz")
    resampling: Literal["decimate", "epochs"] = Field(
        "decimate",
        description="decimate: anti-aliased low-pass on the continuous signal, then every n-th sample; "
        "epochs: each epoch resampled in the Fourier domain, as the papers' code does",
    )
    channels: tuple[str, ...] | Literal["all", "occipital-parietal-17", "nice-63"] = Field(
        "all",
        description="channel names, 'all' (in the order of the recording), or a named set (occipital-parietal-17: the "
        "17 of the THINGS-EEG2 authors; nice-63: all 63 of THINGS-EEG2 from front to back, as NICE, ATM and UBP)",
    )
    reference: Literal["recorded", "average"] = Field(
        "recorded", description="recorded: as on disk; average: mean of the kept EEG channels"
    )
    reject_uv: float | None = Field(
        None, gt=0, description="drop training epochs with a peak-to-peak amplitude above this, microvolt"
    )
    whitening: Whitening = Field(default_factory=Whitening, description="normalisation of single trials")
    repetitions: Repetitions = Field(default_factory=Repetitions, description="surplus presentations")
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="stored precision; float16 only with whitening (its relative error is 2^-11)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Responses:
        if self.tmin >= self.tmax:
            raise ValueError(f"tmin ({self.tmin} s) must be before tmax ({self.tmax} s)")
        if self.crop is not None and not self.tmin <= self.crop[0] < self.crop[1] <= self.tmax:
            raise ValueError(f"crop {self.crop} must lie inside the epoch [{self.tmin}, {self.tmax}] s")
        if self.dtype == "float16" and self.whitening.kind == "none":
            raise ValueError("dtype float16 needs whitening (volts of 1e-6 would underflow); use float32")
        return self


class Voxels(Block):
    """From voxel signals to responses: each step in the order of these keys."""

    detrend: Literal["none", "linear"] = Field(
        "none",
        description="linear: take each voxel's straight line over a run away (all rows of the run, those without a "
        "stimulus too)",
    )
    normalise: Literal["training", "run", "none"] = Field(
        "training",
        description="z-score of each voxel. training: by mean and deviation of the training responses, for both "
        "splits; run: by those of all rows of the same run (also in test runs, without their labels); none",
    )
    delay: int = Field(
        0, ge=0, description="rows from a stimulus to the row that answers it (time series: the haemodynamic delay)"
    )
    average: Literal["none", "block"] = Field(
        "none", description="block: neighbouring rows of a run with the same stimulus become one response, their mean"
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="stored precision; float16 only with normalisation (its relative error is 2^-11)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Voxels:
        if self.dtype == "float16" and self.normalise == "none":
            raise ValueError("dtype float16 needs normalise: training or run; use float32")
        return self


# ---------------------------------------------------------------------------------------------- studies


class Split(Block):
    """How training and test trials of a user's dataset are told apart; the other trials are training."""

    by: Literal["column", "run", "session", "task", "concepts"] = Field(
        description="column: a column of events.tsv; run, session, task: the BIDS entity; concepts: a list"
    )
    column: str | None = Field(None, description="name of the events.tsv column, for by: column")
    test: tuple[str, ...] = Field(
        description="values that mean test: column values, entity labels ('02' or '01/02' for session/run), or concepts"
    )
    train: tuple[str, ...] | None = Field(
        None, description="values that mean training (null: every value that is not test)"
    )

    @model_validator(mode="after")
    def _column_named(self) -> Split:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("split.column goes with split.by: column, and only with it")
        return self


class StudyBase(Block):
    """Settings that every study has."""

    responses: Responses = Field(default_factory=Responses, description="from recording to responses")


class SimulatedNoise(Block):
    """Strength of each disturbance of the simulated EEG at the sensors."""

    pink_uv: float = Field(8.0, ge=0, description="standard deviation of 1/f brain background per channel, microvolt")
    alpha_uv: float = Field(5.0, ge=0, description="mean amplitude of the occipital alpha rhythm, microvolt")
    sensor_uv: float = Field(1.0, ge=0, description="standard deviation of white sensor noise, microvolt")
    mains_uv: float = Field(2.0, ge=0, description="amplitude of the 50 Hz hum, microvolt")
    blink_uv: float = Field(120.0, ge=0, description="peak of a blink at the frontal electrodes, microvolt")
    blinks_per_minute: float = Field(12.0, ge=0, description="mean number of blinks per minute")
    drift_uv: float = Field(20.0, ge=0, description="standard deviation of slow electrode drift, microvolt")


class SimulatedStudy(StudyBase):
    """The embedded simulated experiment; its truth is known."""

    kind: Literal["simulated"] = "simulated"
    subjects: int = Field(4, ge=1, le=99, description="number of simulated subjects")
    sessions: int = Field(2, ge=1, le=9, description="recording sessions per subject")
    training_concepts: int = Field(100, ge=2, le=568, description="training concepts")
    pictures_per_concept: int = Field(10, ge=1, description="training pictures of each concept")
    test_concepts: int = Field(50, ge=2, le=200, description="test concepts, one picture each, unseen by the tower")
    training_repetitions: int = Field(2, ge=1, description="presentations of a training picture over all sessions")
    test_repetitions: int = Field(20, ge=1, description="presentations of a test picture over all sessions")
    surplus: float = Field(
        0.02, ge=0, le=0.5, description="share of pictures that are shown once more than intended in a session"
    )
    catch_trials: float = Field(0.02, ge=0, le=0.5, description="share of target (catch) trials")
    soa: float = Field(0.2, gt=0.05, description="time from one picture onset to the next within a sequence, s")
    sequence: int = Field(20, ge=1, description="pictures per sequence; a pause of 1.5 s follows")
    sfreq: float = Field(250.0, gt=0, description="sampling rate of the recording, Hz")
    snr: float = Field(
        1.0,
        gt=0,
        description="difficulty: factor on the amplitude of picture-driven sources (1: about 3 microvolt)",
    )
    noise: SimulatedNoise = Field(default_factory=SimulatedNoise, description="disturbances")
    seed: int = Field(20251112, description="seed of the whole study (pictures, subjects, noise)")


class BidsEegStudy(StudyBase):
    """Any BIDS EEG dataset on disk."""

    kind: Literal["bids_eeg"] = "bids_eeg"
    root: str = Field(description="folder of the BIDS dataset, relative to the working directory or absolute")
    subjects: tuple[str, ...] | Literal["all"] = Field("all", description="BIDS subject labels without 'sub-'")
    tasks: tuple[str, ...] = Field(description="BIDS task labels to read")
    stimulus: str = Field(
        description="what names the stimulus of an event: a column of events.tsv, or a template with columns and the "
        "entities subject, session, task, run in braces, e.g. '{task}-{tot_img_number}'"
    )
    keep: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="events.tsv columns and the values that make an event a trial, e.g. {trial_type: [image]}",
    )
    split: Split = Field(description="what is training and what is test")
    stimuli: str | None = Field(
        None,
        description="table of the pictures (TSV with columns stimulus_id, concept, image[, caption][, split]); image "
        "paths are relative to the table; with a split column (train, test) the events need not tell the split",
    )
    categories: dict[str, tuple[str, ...]] | None = Field(
        None,
        description="instead of pictures: each stimulus name with its text prompts, which are the candidates, e.g. "
        "{face: ['a photo of a face']}",
    )
    licence: str = Field("see the dataset", description="licence of the dataset, for the report")
    citation: str = Field("see the dataset", description="how to cite the dataset, for the report")

    @model_validator(mode="after")
    def _one_source(self) -> BidsEegStudy:
        if (self.stimuli is None) == (self.categories is None):
            raise ValueError(
                "give either stimuli (a table of pictures) or categories (text prompts), and only one of them"
            )
        return self


class ThingsEeg2Study(StudyBase):
    """THINGS-EEG2 (Gifford et al. 2022) from its BIDS version, NEMAR nm000232, downloaded file by file."""

    kind: Literal["things_eeg2"] = "things_eeg2"
    subjects: tuple[Name, ...] | Literal["all"] = Field("all", description="labels 01 to 10")
    sessions: tuple[Name, ...] | Literal["all"] = Field("all", description="recording sessions, labels 01 to 04")
    runs: tuple[Name, ...] | Literal["all"] = Field(
        "all", description="training runs of each session, labels 01 to 05; the test run is always read"
    )
    signal: Literal["raw", "preprocessed"] = Field(
        "raw",
        description="raw: the recordings (6 GB per subject); preprocessed: the dataset authors' own epochs (about "
        "1 GB per subject: 17 channels, 100 Hz, already whitened, by them also on test trials)",
    )
    manifest: str = Field("workflow/manifests/things-eeg2.csv", description="what to download: path, size, hash, url")
    images: str = Field(
        "workflow/manifests/things-eeg2-images.csv",
        description="number, split, folder, file name of each picture; the unpacked archives are checked against it",
    )


class ThingsEeg1Study(StudyBase):
    """THINGS-EEG1 (Grootswagers et al. 2022) from OpenNeuro ds003825, downloaded file by file."""

    kind: Literal["things_eeg1"] = "things_eeg1"
    subjects: tuple[Name, ...] | Literal["all"] = Field(
        "all",
        description="labels 01 to 50; all: without the four that the authors exclude (01, 06, 18, 23). 49 and 50 have "
        "caps of 128 channels, the others of 63: across subjects name responses.channels that all have",
    )
    test: Literal["concepts", "block"] = Field(
        "concepts",
        description="test trials. concepts: pictures of the 200 test concepts of THINGS-EEG2 among the 22,248 main "
        "trials; block: the test block (200 pictures, 12 times each). Training leaves out all concepts of the test",
    )
    targets: Literal["keep", "drop"] = Field(
        "drop", description="pictures at whose time the fixation point changed, which asked for a key press"
    )
    pictures: str | None = Field(
        None,
        description="folder of the THINGS pictures, <folder>/<concept>/<file>.jpg, which are on request; null: "
        "text prompts of the concepts are the candidates",
    )
    manifest: str = Field("workflow/manifests/things-eeg1.csv", description="what to download: path, size, hash, url")
    test_concepts: str = Field(
        "workflow/manifests/things-eeg2-images.csv",
        description="table of the 1854 concepts (columns split, concept_folder); those of split test are the test "
        "concepts",
    )


class VoxelStudyBase(Block):
    """Settings that every fMRI study has."""

    voxels: Voxels = Field(default_factory=Voxels, description="from voxel signals to responses")
    ready_features: dict[Name, str] = Field(
        default_factory=dict,
        description="by tower: HDF5 or npz file with stimulus_id [n] and embedding [n, d], instead of pictures that "
        "cannot be had; d is that of the tower, whose text side is used as it is",
    )


class SimulatedFmriStudy(VoxelStudyBase):
    """Simulated fMRI of the same world as the simulated EEG; its truth is known."""

    kind: Literal["simulated_fmri"] = "simulated_fmri"
    subjects: int = Field(2, ge=1, le=99, description="number of simulated subjects")
    training_concepts: int = Field(100, ge=2, le=568, description="training concepts")
    pictures_per_concept: int = Field(8, ge=1, description="training pictures of each concept")
    test_concepts: int = Field(50, ge=2, le=200, description="test concepts, one picture each, unseen by the tower")
    training_repetitions: int = Field(1, ge=1, description="presentations of a training picture")
    test_repetitions: int = Field(35, ge=1, description="presentations of a test picture")
    run_trials: int = Field(50, ge=2, description="trials of a run")
    voxels_per_roi: int = Field(
        60, ge=4, description="mean number of voxels of a region; regions and subjects differ from it"
    )
    snr: float = Field(
        0.25,
        gt=0,
        description="difficulty: deviation of the picture-driven part over that of the noise of a trial (0.25: some 5 "
        "percent of a trial's variance)",
    )
    noise_correlation: float = Field(0.3, ge=0, lt=1, description="part of the noise variance that neighbours share")
    drift: float = Field(0.5, ge=0, description="deviation of slow changes over a run, in units of the noise")
    seed: int = Field(20251112, description="seed of the whole study (pictures, subjects, noise)")


class GodStudy(VoxelStudyBase):
    """Generic Object Decoding (Horikawa and Kamitani 2017), preprocessed, downloaded file by file."""

    kind: Literal["god"] = "god"
    subjects: tuple[Name, ...] | Literal["all"] = Field(
        "all", description="source figshare: labels 01 to 05; source fmriprep: labels 01 to 03"
    )
    source: Literal["figshare", "fmriprep"] = Field(
        "figshare",
        description="figshare: Subject1.h5 and so on of article 7387130 (5 subjects, one training and 35 test trials "
        "of a picture); fmriprep: the newer files of three subjects (5 training and 24 test trials)",
    )
    captions: str | None = Field(
        None,
        description="sentences of the training pictures, from their authors: JSON (picture id to list of sentences) "
        "or JSON lines; null: class prompts only",
    )
    pictures: str | None = Field(
        None,
        description="folder of the pictures, which are on request, <folder>/**/<picture id>.<JPEG or jpg or png>; "
        "null: ready_features or class prompts only",
    )
    class_names: str | None = Field(
        None,
        description="table of WordNet ids and names (two columns, tab separated: n01443537, goldfish) of the training "
        "classes, for their prompts; those of the 50 test classes are known",
    )
    manifest: str = Field("workflow/manifests/god.csv", description="what to download: path, size, hash, url")


class ThingsFmriStudy(VoxelStudyBase):
    """THINGS-fMRI (Hebart et al. 2023): single-trial betas, 720 x 12 training and 100 test pictures."""

    kind: Literal["things_fmri"] = "things_fmri"
    root: str = Field(description="folder of the unpacked single-trial betas (sub-01_ResponseData.h5 and so on)")
    subjects: tuple[Name, ...] | Literal["all"] = Field("all", description="labels 01 to 03")
    pictures: str | None = Field(
        None,
        description="folder of the THINGS pictures, <folder>/<concept>/<file>.jpg, which are on request; null: "
        "ready_features or text prompts of the concepts",
    )
    keep_test_concepts: bool = Field(
        False,
        description="the 100 test pictures show concepts of the training pictures; false: training trials of those "
        "concepts are left out, so that retrieval is zero-shot; true: all are kept, and reports say so",
    )


class VoxelTableStudy(VoxelStudyBase):
    """Any voxel data on disk: a file of voxel signals and a table of its rows per subject."""

    kind: Literal["voxel_table"] = "voxel_table"
    signals: str = Field(
        description="file of voxel signals, {subject} stands for the label: .nii or .nii.gz (x, y, z, rows), .npz "
        "(array 'data' [rows, voxels]), .npy, or .h5 (dataset 'data'; BData files by their own layout)"
    )
    table: str = Field(
        description="table of the rows of the signals with a header, tab, comma or space separated; {subject} stands "
        "for the label"
    )
    columns: tuple[str, ...] | None = Field(None, description="names of the table's columns where it has no header")
    subjects: tuple[Name, ...] = Field(min_length=1, description="subject labels")
    mask: str | None = Field(None, description="NIfTI mask of the voxels to read, {subject} stands for the label")
    rois: dict[str, str] = Field(
        default_factory=dict,
        description="regions by name: NIfTI mask, or the name of a mask [voxels] in an .npz or .h5 file of signals",
    )
    stimulus: str = Field(description="column that names the stimulus of a row")
    rest: tuple[str, ...] = Field((), description="values of that column that are no stimulus, e.g. [rest]")
    run: str | None = Field(None, description="column that names the run of a row (null: one run)")
    split: Split = Field(
        description="what is training and what is test (by: column, run or concepts); {subject} in its values stands "
        "for the label, so that runs of one person can be folds, each a subject named after the run it leaves out"
    )
    stimuli: str | None = Field(None, description="table of the pictures, as for bids_eeg")
    categories: dict[str, tuple[str, ...]] | None = Field(
        None, description="instead of pictures: each stimulus name with its text prompts, as for bids_eeg"
    )
    licence: str = Field("see the dataset", description="licence of the dataset, for the report")
    citation: str = Field("see the dataset", description="how to cite the dataset, for the report")

    @model_validator(mode="after")
    def _one_source(self) -> VoxelTableStudy:
        if (self.stimuli is None) == (self.categories is None):
            raise ValueError(
                "give either stimuli (a table of pictures) or categories (text prompts), and only one of them"
            )
        if self.split.by in ("session", "task"):
            raise ValueError(f"split.by: {self.split.by} is of recordings; a voxel table has column, run and concepts")
        if self.split.by == "run" and self.run is None:
            raise ValueError("split.by: run needs the setting run, the column that names the run of a row")
        return self


Study = Annotated[
    SimulatedStudy
    | BidsEegStudy
    | ThingsEeg2Study
    | ThingsEeg1Study
    | SimulatedFmriStudy
    | GodStudy
    | ThingsFmriStudy
    | VoxelTableStudy,
    Field(discriminator="kind"),
]
#: Kinds of studies whose responses are voxels: they have regions instead of bands.
VOXEL_KINDS = ("simulated_fmri", "god", "things_fmri", "voxel_table")


# ---------------------------------------------------------------------------------------------- stimuli


class FilterBank(Block):
    """Ring bands over spatial frequency into which every picture is decomposed; they sum to one."""

    bands: int = Field(4, ge=1, le=16, description="number of ring bands K; the constant part is in the first")
    shape: Literal["raised-cosine", "box"] = Field(
        "raised-cosine", description="window of a band over the logarithm of spatial frequency"
    )
    lowest: float = Field(
        0.1, gt=0, lt=1, description="centre of the first band, as a part of the Nyquist frequency of the picture"
    )


class Tower(Block):
    """A frozen CLIP and how its features are kept."""

    model: str = Field(description="open_clip architecture, or 'local-dir:FOLDER' (open_clip_config.json and weights)")
    pretrained: str | None = Field(
        None, description="open_clip pretrained tag or path of a checkpoint (null for local-dir)"
    )
    batch_size: int = Field(128, ge=1, description="pictures per forward pass")
    dtype: Literal["float32", "float16"] = Field("float32", description="stored precision of the patch tokens")
    cache: Literal["tokens", "pictures", "auto"] = Field(
        "auto",
        description="tokens: patch tokens of every band are stored; pictures: 8-bit pictures are stored and the bands "
        "made on the device; auto: tokens up to cache_limit_gb",
    )
    cache_limit_gb: float = Field(12.0, gt=0, description="largest token cache that auto writes, GB")
    filter_bank: FilterBank = Field(default_factory=FilterBank, description="bands of the picture")


# -------------------------------------------------------------------------------------------- protocols


class Protocol(Block):
    """Which subjects train and which are tested."""

    kind: Literal["intra-subject", "leave-one-subject-out", "joint"] = Field(
        description="intra-subject: the same subject trains and is tested; leave-one-subject-out: all others train; "
        "joint: one model trains on all subjects and is tested on each (methods of kind mapping, which give every "
        "subject an input layer of its own)"
    )


# ---------------------------------------------------------------------------------------------- methods


class Encoder(Block):
    """Network from a brain response to an embedding."""

    name: Literal["eegproject", "tsconv"] = Field(
        "eegproject",
        description="eegproject: linear projection, residual block (UBP); tsconv: temporal-spatial convolution (NICE)",
    )
    width: int = Field(512, ge=8, description="size of the encoder's embedding")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout probability")
    smoothing_s: float = Field(0.0, ge=0, description="moving average over time before the encoder, s (0: none)")


class Head(Block):
    """Projection into the shared space where brain and picture meet."""

    kind: Literal["linear", "none", "bottleneck"] = Field(
        "linear", description="linear; none (sizes must agree); bottleneck: down to a quarter and up, no residual"
    )
    width: int = Field(512, ge=2, description="size of the shared space (ignored for none)")


class DynamicFilter(Block):
    """Content-adaptive gains over the picture's frequency bands: the filtered stream."""

    form: Literal["gains", "softmax", "fixed", "off"] = Field(
        "gains",
        description="gains: 2*sigmoid per band from the picture's content; softmax: bands compete; fixed: learned "
        "gains that are the same for all pictures; off: the filtered stream equals the raw one",
    )
    init: Literal["allpass", "lowpass"] = Field("allpass", description="gains at the start of training")
    reduction: int = Field(16, ge=1, description="bottleneck of the gain network: width / reduction")


class Fusion(Block):
    """Token-level fusion of the raw and the filtered stream into instance prompts."""

    kind: Literal["cross-attention", "concat", "add", "none"] = Field(
        "cross-attention",
        description="cross-attention: raw tokens look at filtered ones; concat: both tokens at a place through an MLP; "
        "add: sum of the streams through an MLP; none: no instance prompts",
    )
    target: Literal["patches", "extra"] = Field(
        "patches", description="patches: the prompt is added to the patch tokens; extra: it becomes extra tokens"
    )
    extra_tokens: int = Field(4, ge=1, description="number of extra tokens for target: extra")
    width: int = Field(128, ge=4, description="width of the cross-attention")
    heads: int = Field(4, ge=1, description="heads of the cross-attention")
    reduction: int = Field(16, ge=1, description="bottleneck: width / reduction")

    @model_validator(mode="after")
    def _heads_divide(self) -> Fusion:
        if self.width % self.heads:
            raise ValueError(f"fusion.width ({self.width}) must be a multiple of fusion.heads ({self.heads})")
        return self


class SharedPrompts(Block):
    """Visual prompt tokens inside the Transformer, the same for all pictures."""

    depth: Literal["deep", "shallow", "off"] = Field(
        "deep", description="deep: own prompts at every block; shallow: at the first only; off: none"
    )
    tokens: int = Field(8, ge=1, description="prompt tokens m")
    last_blocks: int | None = Field(None, ge=1, description="deep prompts only in the last n blocks (null: in all)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the prompts")


class Readout(Block):
    """Where the picture embedding is taken from the tower."""

    block: int | None = Field(
        None, ge=1, description="leave the tower after this many blocks (null: after the last, through its projection)"
    )
    pool: Literal["tower", "patches"] = Field(
        "tower", description="tower: the tower's own pooling; patches: mean of the patch tokens"
    )

    @model_validator(mode="after")
    def _exit_pool(self) -> Readout:
        if self.block is not None and self.pool == "tower":
            raise ValueError("readout.block (an early exit) needs readout.pool: patches")
        return self


class Visual(Block):
    """The picture side."""

    kind: Literal["frozen", "neuroclip"] = Field(
        "neuroclip", description="frozen: the cached CLIP embedding; neuroclip: the prompted tower"
    )
    filter: DynamicFilter = Field(default_factory=DynamicFilter, description="dynamic filter (filtered stream)")
    fusion: Fusion = Field(default_factory=Fusion, description="token-level fusion (instance prompts)")
    prompts: SharedPrompts = Field(default_factory=SharedPrompts, description="shared prompt tokens")
    readout: Readout = Field(default_factory=Readout, description="where the embedding is taken")
    head: Head = Field(default_factory=Head, description="projection of the picture embedding")


class Objective(Block):
    """Softened contrastive loss; beta = 0 is symmetric InfoNCE."""

    beta: float = Field(0.2, ge=0, le=1, description="weight of the soft target")
    soft_temperature: float = Field(0.1, gt=0, description="temperature of the soft target")
    soft_target: Literal["clip", "uniform"] = Field(
        "clip", description="clip: similarity of the frozen CLIP embeddings; uniform: label smoothing"
    )
    disentangle: bool = Field(
        False, description="soft part over negatives only, renormalised without the true pair (SoftCLIP)"
    )
    normalise: Literal["image", "both"] = Field(
        "image",
        description="image (recipe A): only the picture embedding has unit length, scale softplus; both (recipe B): "
        "both have, scale exp clamped to [1, 100]",
    )
    scale_init: float = Field(2.6593, description="start of the learnable logit scale a; ln(1/0.07) = 2.6593")
    learn_scale: bool = Field(True, description="whether the scale is trained")


class Budget(Block):
    """AdamW and its budget; a baseline gets the same."""

    epochs: int = Field(50, ge=1, description="passes over the training pictures")
    batch_size: int = Field(
        1024, ge=2, description="pictures per step, each with all its responses (single responses for few categories)"
    )
    lr: float = Field(1e-4, gt=0, description="learning rate of encoder, mapping and heads")
    weight_decay: float = Field(1e-4, ge=0, description="decoupled weight decay")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="learning rate over the steps")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps over which the rate rises")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")


class MappingBudget(Budget):
    """The same with what suits a mapping network."""

    epochs: int = Field(100, ge=1, description="passes over the training pictures")
    batch_size: int = Field(256, ge=2, description="pictures per step, each with all its responses")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    weight_decay: float = Field(0.05, ge=0, description="decoupled weight decay")


class Optimiser(Budget):
    """The same for a method that drives the tower."""

    lr_visual: float = Field(1e-3, gt=0, description="learning rate of filter, fusion and prompts")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="autocast of the tower in training: auto takes bf16 where the device is fast with it"
    )
    checkpointing: bool = Field(False, description="recompute block activations (large towers): less memory, more time")


class Selection(Block):
    """How the epoch is chosen; never by test data."""

    rule: Literal["last", "held-out-concepts"] = Field(
        "last",
        description="last: a fixed number of epochs; held-out-concepts: the epoch with the best retrieval of training "
        "concepts kept aside",
    )
    share: float = Field(0.1, gt=0, lt=0.9, description="share of the training concepts kept aside")


class Contrastive(Block):
    """A brain encoder trained against a picture side by a contrastive loss: NeuroCLIP and its baseline."""

    kind: Literal["contrastive"] = "contrastive"
    label: str = Field("", description="name in the tables (empty: the key)")
    tower: Name = Field(description="name of a tower")
    encoder: Encoder = Field(default_factory=Encoder, description="brain side")
    brain_head: Head = Field(default_factory=Head, description="projection of the brain embedding")
    visual: Visual = Field(default_factory=Visual, description="picture side")
    objective: Objective = Field(default_factory=Objective, description="loss")
    optimiser: Optimiser = Field(default_factory=Optimiser, description="optimiser and budget")
    selection: Selection = Field(default_factory=Selection, description="choice of the epoch")
    average_repetitions: bool = Field(True, description="train on the mean over repetitions of a picture")
    shuffle_labels: bool = Field(False, description="control: pictures of training trials permuted; must give chance")

    @model_validator(mode="after")
    def _spaces_agree(self) -> Contrastive:
        brain = self.encoder.width if self.brain_head.kind == "none" else self.brain_head.width
        if self.visual.head.kind != "none" and brain != self.visual.head.width:
            raise ValueError(
                f"brain and picture must meet in one space: brain side gives {brain}, "
                f"visual.head.width is {self.visual.head.width}"
            )
        return self


class Ridge(Block):
    """Ridge regression from brain responses to the frozen CLIP embedding."""

    kind: Literal["ridge"] = "ridge"
    label: str = Field("", description="name in the tables (empty: the key)")
    tower: Name = Field(description="name of a tower")
    alphas: tuple[float, ...] = Field(
        (1e1, 1e2, 1e3, 1e4, 1e5, 1e6), description="penalties; chosen by cross-validation over training concepts"
    )
    folds: int = Field(5, ge=2, description="folds of the cross-validation, concept-disjoint")
    target: Literal["stimulus", "text"] = Field(
        "stimulus",
        description="stimulus: the embedding of the picture (of the prompts where a study has none); text: the mean "
        "embedding of the stimulus' captions and class prompts",
    )
    average_repetitions: bool = Field(True, description="train on the mean over repetitions of a picture")
    shuffle_labels: bool = Field(False, description="control: pictures of training trials permuted; must give chance")


class Network(Block):
    """Mapping network from a response to the frozen CLIP space."""

    name: Literal["linear", "mlp", "vae"] = Field(
        "linear",
        description="linear: one matrix; mlp: hidden layer and residual blocks; vae: hidden layer, latent variable, "
        "linear read-out (its mean is used in tests)",
    )
    hidden: int = Field(1024, ge=8, description="width of hidden layers (mlp, vae)")
    blocks: int = Field(1, ge=0, description="residual blocks (mlp, vae)")
    latent: int = Field(256, ge=2, description="size of the latent variable (vae)")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout probability after the first layer (mlp, vae)")
    subject_width: int = Field(
        512, ge=2, description="protocol joint: every subject's own linear layer maps its voxels to this many numbers"
    )


class Supervision(Block):
    """Contrastive loss to the image and the text embedding, and the prior of a VAE.

    (1 - text) L(z, image) + text L(z, sentence) + kl KL(posterior | N(0, 1)).
    """

    text: float = Field(0.5, ge=0, le=1, description="lambda, weight of the text: 0 image only, 1 text only")
    sentences: tuple[Literal["captions", "prompts"], ...] = Field(
        ("captions", "prompts"),
        min_length=1,
        description="what one sentence per stimulus and step is drawn from: its captions, the prompts of its class",
    )
    kl: float = Field(1e-3, ge=0, description="beta, weight of the prior (vae only)")
    multi_positive: bool = Field(
        True,
        description="equal sentences of a batch share the mass of the target; false: all but the own one are negatives",
    )
    centre: bool = Field(
        False, description="take the mean training embedding of each modality away before lengths are set to one"
    )
    scale_init: float = Field(2.6593, description="start of the learnable logit scale a; ln(1/0.07) = 2.6593")
    learn_scale: bool = Field(True, description="whether the scale is trained, within [1, 100]")


class Augmentation(Block):
    """What is done to responses in training, never to test responses."""

    noise: float = Field(0.1, ge=0, description="deviation of Gaussian noise, in units of the responses")
    dropout: float = Field(0.2, ge=0, lt=1, description="probability that an input (voxel) is set to zero")
    mixco: float = Field(
        0.0,
        ge=0,
        description="MixCo: a response is mixed with another by a share from Beta(x, x), both being targets; 0: off",
    )


class Classifier(Block):
    """Text side of zero-shot category decoding."""

    kind: Literal["prompt", "ensemble", "context"] = Field(
        "ensemble",
        description="prompt: the first prompt of a class; ensemble: mean embedding of all its prompts; context: "
        "learned context tokens before the class name (CoOp), trained on training classes after the mapping",
    )
    tokens: int = Field(4, ge=1, description="learned context tokens")
    epochs: int = Field(20, ge=1, description="passes over the training responses for the context")
    batch_size: int = Field(64, ge=2, description="responses per step for the context")
    lr: float = Field(2e-3, gt=0, description="learning rate of the context")


class BrainMapping(Block):
    """A mapping network from brain responses to the frozen CLIP space under image and text supervision: BrainCLIP."""

    kind: Literal["mapping"] = "mapping"
    label: str = Field("", description="name in the tables (empty: the key)")
    tower: Name = Field(description="name of a tower")
    network: Network = Field(default_factory=Network, description="mapping network")
    supervision: Supervision = Field(default_factory=Supervision, description="loss")
    augmentation: Augmentation = Field(default_factory=Augmentation, description="augmentation of responses")
    classifier: Classifier = Field(default_factory=Classifier, description="text side of category decoding")
    optimiser: MappingBudget = Field(default_factory=MappingBudget, description="optimiser and budget")
    selection: Selection = Field(default_factory=Selection, description="choice of the epoch")
    average_repetitions: bool = Field(True, description="train on the mean over repetitions of a picture")
    shuffle_labels: bool = Field(False, description="control: pictures of training trials permuted; must give chance")


class IdealObserver(Block):
    """Ceiling of a simulated study: knows the noise-free response to every picture and the noise covariance."""

    kind: Literal["ideal-observer"] = "ideal-observer"
    label: str = Field("", description="name in the tables (empty: the key)")
    tower: Name = Field(description="name of a tower; only its list of stimuli is read")


Method = Annotated[Contrastive | BrainMapping | Ridge | IdealObserver, Field(discriminator="kind")]


# -------------------------------------------------------------------------------- retrieval and reporting


Task = Literal["stimulus", "category", "caption", "stimulus-to-brain", "caption-to-brain"]


class Pools(Block):
    """Candidates drawn at random: metrics for galleries of another size than the test set."""

    size: int = Field(ge=2, description="candidates of a pool, the true one included, e.g. 300")
    draws: int = Field(30, ge=1, description="pools drawn; a metric is the mean over all queries of all pools")
    seed: int = Field(0, ge=0, description="seed of the draws, the same pools for every method")


class Retrieval(Block):
    """Ranking of candidates and its statistics."""

    tasks: tuple[Task, ...] = Field(
        ("stimulus",),
        min_length=1,
        description="what is looked for. stimulus: the seen picture among the test pictures (the prompts where a study "
        "has no pictures); category: the class of the picture, by its text prompts; caption: its caption; "
        "stimulus-to-brain and caption-to-brain: the brain response to a picture or caption among those to all",
    )
    pools: Pools | None = Field(None, description="also rank in random pools of candidates (null: all candidates only)")

    repetitions: tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...] = Field(
        ("all",),
        min_length=1,
        description="numbers of averaged test repetitions; each number forms disjoint groups of trials",
    )
    top_k: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 3, 5, 10), description="k of Top-k")
    n_way: tuple[int, ...] = Field(
        (2, 4, 10, 50, 100, 200),
        description="n of n-way accuracy: the true one among n-1 random others (exact mean)",
    )
    bootstrap: int = Field(2000, ge=100, description="bootstrap samples of an interval")
    level: float = Field(0.95, gt=0, lt=1, description="coverage of an interval")
    seed: int = Field(0, description="seed of trial groups and bootstrap")


class Experiment(Block):
    """A block of runs: every combination of what is listed."""

    study: Name = Field(description="name of a study")
    bands: tuple[Name, ...] = Field(min_length=1, description="names of bands; of rois for a study of fMRI")
    protocols: tuple[Name, ...] = Field(min_length=1, description="names of protocols")
    methods: tuple[Name, ...] = Field(min_length=1, description="names of methods")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1, description="seeds of training")


class Table(Block):
    """A table of the report."""

    kind: Literal["methods", "ablation", "repetitions", "contrast", "overview"] = Field(
        description="methods: methods by subjects; ablation: difference of each method to the reference; repetitions: "
        "accuracy over averaged repetitions; contrast: paired differences to the reference with intervals; overview: "
        "EEG and fMRI side by side, a line per study, band or region, protocol and method, a column per task"
    )
    experiments: tuple[Name, ...] = Field(min_length=1, description="experiments whose runs it shows")
    metric: str = Field(
        "top-1",
        pattern=r"^((stimulus|category|caption|stimulus-to-brain|caption-to-brain)(/[1-9]\d*)?:)?"
        r"(top-[1-9]\d*|[1-9]\d*-way|median-rank|mean-rank)(@[1-9]\d*)?$",
        description="metric shown: top-K, N-way, median-rank or mean-rank, with @R for R averaged repetitions and, "
        "before it, 'TASK:' for another task than stimulus or 'TASK/SIZE:' for pools, as in category:top-1@1",
    )
    reference: Name | None = Field(None, description="method that differences are taken to")

    @model_validator(mode="after")
    def _reference_given(self) -> Table:
        if self.kind in ("ablation", "contrast") and self.reference is None:
            raise ValueError(f"a table of kind {self.kind} needs a reference method")
        return self


class Figures(Block):
    """What the figures show."""

    method: Name | None = Field(None, description="method of gallery, gains and prompt figures (null: the first)")
    topography_times: tuple[float, ...] = Field((0.1, 0.17, 0.3), description="times of the topographies, s")


class Download(Block):
    """How files are fetched; no part of what is computed from them, so that a change re-runs nothing."""

    sources: dict[str, str] = Field(
        default_factory=dict,
        description="base URL in place of the manifest's own addresses, by dataset, e.g. {things-eeg2: "
        "'file:///data/nm000232'} for a folder on this machine, or the address of a mirror",
    )
    at_once: int = Field(4, ge=1, le=32, description="downloads that run at the same time")
    retries: int = Field(5, ge=0, description="further attempts after a broken transfer, with growing pauses")
    timeout_s: float = Field(60.0, gt=0, description="longest silence of a server, s")

    @model_validator(mode="after")
    def _addresses(self) -> Download:
        for name, source in self.sources.items():
            if not source.startswith(("http://", "https://", "file:///")):
                raise ValueError(f"sources.{name}: {source!r} is no address; expected https://… or file:///FOLDER")
        return self


class Export(Block):
    """Responses in other projects' formats, written beside the tables."""

    study: Name = Field(description="name of a study")
    bands: tuple[Name, ...] = Field(min_length=1, description="names of bands")
    formats: tuple[Literal["nice", "ubp"], ...] = Field(
        min_length=1, description="nice: pickled dictionaries as NICE and ATM read; ubp: torch files as UBP reads"
    )


# ----------------------------------------------------------------------------------------------- config


class Config(Block):
    """The whole configuration."""

    results: str = Field("results", description="folder of everything that the pipeline writes")
    presets: dict[Name, Responses] = Field(
        default_factory=dict,
        description="named settings of responses; 'base: name' in studies.*.responses starts from one and overrides "
        "what is listed",
    )
    download: Download = Field(default_factory=Download, description="how datasets are fetched")
    studies: dict[Name, Study] = Field(min_length=1, description="datasets by name")
    bands: dict[Name, Band] = Field(default_factory=dict, description="filter bands by name, for studies of EEG")
    rois: dict[Name, Roi] = Field(
        default_factory=dict, description="sets of voxels by name, for studies of fMRI; they stand where bands stand"
    )
    towers: dict[Name, Tower] = Field(min_length=1, description="frozen CLIPs by name")
    protocols: dict[Name, Protocol] = Field(min_length=1, description="protocols by name")
    methods: dict[Name, Method] = Field(
        min_length=1,
        description="methods by name; 'base: other' starts from another method and overrides what is listed",
    )
    experiments: dict[Name, Experiment] = Field(min_length=1, description="what is run")
    retrieval: Retrieval = Field(default_factory=Retrieval, description="ranking and statistics")
    tables: dict[Name, Table] = Field(default_factory=dict, description="tables by name")
    figures: Figures = Field(default_factory=Figures, description="figures")
    exports: dict[Name, Export] = Field(default_factory=dict, description="responses in other projects' formats")

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        problems = []

        def check(where: str, name: str, kind: str) -> None:
            known = getattr(self, kind)
            if name not in known:
                problems.append(f"{where}: no {kind} entry named {name!r}{_suggest(name, known)}")

        for label, method in self.methods.items():
            check(f"methods.{label}.tower", method.tower, "towers")
        for label, experiment in self.experiments.items():
            check(f"experiments.{label}.study", experiment.study, "studies")
            for kind in ("protocols", "methods"):
                for name in getattr(experiment, kind):
                    check(f"experiments.{label}.{kind}", name, kind)
            known = self._bands_of(experiment.study)
            for name in experiment.bands:
                check(f"experiments.{label}.bands", name, known)
        for label, table in self.tables.items():
            for name in table.experiments:
                check(f"tables.{label}.experiments", name, "experiments")
            if table.reference is not None:
                check(f"tables.{label}.reference", table.reference, "methods")
        if self.figures.method is not None:
            check("figures.method", self.figures.method, "methods")
        for label, export in self.exports.items():
            check(f"exports.{label}.study", export.study, "studies")
            if self._bands_of(export.study) == "rois":
                problems.append(f"exports.{label}.study: {export.study!r} is a study of fMRI; exports are of EEG")
            for name in export.bands:
                check(f"exports.{label}.bands", name, "bands")
        if not problems:
            problems = [*self._ceilings_need_truth(), *self._protocols_fit(), *self._tables_are_filled()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _bands_of(self, study: str) -> str:
        """Block whose names stand in an experiment's bands."""
        return "rois" if study in self.studies and self.studies[study].kind in VOXEL_KINDS else "bands"

    def _ceilings_need_truth(self) -> list[str]:
        """An ideal observer exists only where the truth is known."""
        return [
            f"experiments.{label}.methods: {name!r} is an ideal observer, but study {one.study!r} is not simulated"
            for label, one in self.experiments.items()
            for name in one.methods
            if self.methods[name].kind == "ideal-observer"
            and self.studies[one.study].kind not in ("simulated", "simulated_fmri")
        ]

    def _protocols_fit(self) -> list[str]:
        """Voxels of two subjects are not the same inputs; only a mapping has an input layer for each subject."""
        problems = []
        for label, one in self.experiments.items():
            kinds = {self.protocols[name].kind for name in one.protocols}
            if self.studies[one.study].kind in VOXEL_KINDS and "leave-one-subject-out" in kinds:
                problems.append(
                    f"experiments.{label}.protocols: leave-one-subject-out on {one.study!r}, whose subjects have other "
                    "voxels each; take intra-subject or joint"
                )
            if "joint" in kinds:
                problems += [
                    f"experiments.{label}.methods: {name!r} ({self.methods[name].kind}) cannot train on all subjects "
                    "together; protocol joint takes methods of kind mapping"
                    for name in one.methods
                    if self.methods[name].kind not in ("mapping", "ideal-observer")
                ]
        return problems

    def _tables_are_filled(self) -> list[str]:
        """What a table shows must be computed."""
        problems = []
        for label, table in self.tables.items():
            task, _, metric = table.metric.rpartition(":")
            repetitions = metric.partition("@")[2] or "all"
            task, _, size = task.partition("/")
            if (task or "stimulus") not in self.retrieval.tasks:
                problems.append(
                    f"tables.{label}.metric: {table.metric!r} needs the task {task or 'stimulus'} in retrieval.tasks, "
                    f"found {', '.join(self.retrieval.tasks)}"
                )
            if size and (self.retrieval.pools is None or int(size) != self.retrieval.pools.size):
                problems.append(f"tables.{label}.metric: {table.metric!r} needs retrieval.pools of size {size}")
            if repetitions not in map(str, self.retrieval.repetitions) and table.kind != "repetitions":
                problems.append(
                    f"tables.{label}.metric: {table.metric!r} needs {repetitions} in retrieval.repetitions, "
                    f"found {', '.join(map(str, self.retrieval.repetitions))}"
                )
            kind, k = metric.partition("@")[0].partition("-")[::2]
            computed = {"top": self.retrieval.top_k}.get(kind) or (self.retrieval.n_way if k == "way" else None)
            number = k if kind == "top" else kind
            if computed is not None and int(number) not in computed:
                problems.append(
                    f"tables.{label}.metric: {table.metric!r} is not computed; retrieval.top_k is "
                    f"{list(self.retrieval.top_k)}, retrieval.n_way {list(self.retrieval.n_way)}"
                )
            ran = {method for name in table.experiments for method in self.experiments[name].methods}
            if table.reference is not None and table.reference not in ran:
                problems.append(
                    f"tables.{label}.reference: {table.reference!r} is run by none of its experiments "
                    f"({', '.join(table.experiments)})"
                )
        return problems


# ---------------------------------------------------------------------------------------------- loading


def load(raw: Mapping[str, Any], source: str = "config.yaml") -> Config:
    """Validate a merged configuration.

    Parameters
    ----------
    raw : mapping
        What the YAML files say, overlays merged.
    source : str
        Name of the file, for the message.

    Raises
    ------
    SettingsError
        With every error found: where, what was found, what was expected.
    """
    try:
        return Config.model_validate(_resolve_bases(dict(raw), source))
    except ValidationError as error:
        raise SettingsError(_explain(error, source)) from None


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text.

    Parameters
    ----------
    value : BaseModel or JSON-like
        Blocks are dumped with all defaults filled in.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_dump)


def parse(block: Any, text: str | Mapping[str, Any]) -> Any:
    """A block (or an annotated union of blocks) from its JSON text or mapping."""
    adapter = TypeAdapter(block)
    return adapter.validate_json(text) if isinstance(text, str) else adapter.validate_python(text)


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of two mappings; the overlay wins, lists are replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _dump(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} does not belong into settings")


def _resolve_bases(raw: dict[str, Any], source: str) -> dict[str, Any]:
    """Replace ``base: name`` by a deep merge onto what is named.

    A method may start from another method, a preset from another preset, the responses of a study from a preset.
    """
    problems: list[str] = []
    resolved = {
        block: _merged_onto_bases(raw[block], block, problems)
        for block in ("methods", "presets")
        if isinstance(raw.get(block), Mapping)
    }
    studies = raw.get("studies")
    if isinstance(studies, Mapping):
        presets = resolved.get("presets", {})
        resolved["studies"] = {name: _on_preset(name, study, presets, problems) for name, study in studies.items()}
    if problems:
        raise SettingsError(_listing(problems, source))
    return {**raw, **resolved}


def _merged_onto_bases(entries: Mapping[Any, Any], block: str, problems: list[str]) -> dict[Any, Any]:
    """Entries of a block, each merged onto the entry that its ``base`` names."""
    resolved: dict[Any, Any] = {}

    def resolve(name: Any, chain: tuple[Any, ...]) -> Any:
        if name in chain:
            circle = " -> ".join(map(str, (*chain, name)))
            problems.append(f"{block}.{name}.base: goes round in a circle: {circle}")
            return {}
        if name in resolved:
            return resolved[name]
        entry = entries[name]
        if isinstance(entry, Mapping) and "base" in entry:
            base, own = _base_and_own(entry)
            if base not in list(entries):
                problems.append(f"{block}.{name}.base: no {block[:-1]} named {base!r}{_suggest(str(base), entries)}")
                return own
            inherited = resolve(base, (*chain, name))
            entry = merge(inherited, own) if isinstance(inherited, Mapping) else own
        resolved[name] = entry
        return entry

    for name in entries:
        resolve(name, ())
    return resolved


def _on_preset(name: Any, study: Any, presets: Mapping[Any, Any], problems: list[str]) -> Any:
    """A study whose responses are merged onto the preset that they name."""
    responses = study.get("responses") if isinstance(study, Mapping) else None
    if not isinstance(responses, Mapping) or "base" not in responses:
        return study
    base, own = _base_and_own(responses)
    if base not in list(presets):
        where = f"studies.{name}.responses.base"
        problems.append(f"{where}: no preset named {base!r}{_suggest(str(base), presets)}")
        return study
    inherited = presets[base]
    return {**study, "responses": merge(inherited, own) if isinstance(inherited, Mapping) else own}


def _base_and_own(entry: Mapping[Any, Any]) -> tuple[Any, dict[Any, Any]]:
    return entry["base"], {key: value for key, value in entry.items() if key != "base"}


def _explain(error: ValidationError, source: str) -> str:
    """All errors of a validation as one message: path, found, expected, suggestion."""
    lines = []
    for item in error.errors():
        keys, block = _walk(tuple(item["loc"]))
        path = ".".join(str(key) for key in keys) or "top level"
        if item["type"] == "extra_forbidden":
            lines.append(f"{path}: unknown key{_suggest(str(keys[-1]), _fields(block))}")
        elif item["type"] == "value_error":
            message = str(item["ctx"]["error"]) if "ctx" in item else item["msg"]
            lines.extend(line if path == "top level" else f"{path}: {line}" for line in message.splitlines())
        elif item["type"] == "union_tag_not_found":
            lines.append(f"{path}.kind: missing; expected one of {', '.join(_kinds(block))}")
        else:
            found = "nothing" if item["type"] == "missing" else repr(item.get("input"))
            lines.append(f"{path}: {_lower(item['msg'])}; found {found[:120]}")
    return _listing(lines, source)


def _listing(lines: list[str], source: str) -> str:
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    listed = "\n".join(f"  - {line}" for line in lines)
    return f"{source}: {count} in the settings\n{listed}\nSee docs/configuration.md for every key."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _walk(loc: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """Keys of the file at the place of an error, and the annotation that holds (or should hold) the last of them.

    Pydantic puts names of union members between the keys; a key may well be called like one (a method ``ridge`` of
    kind ``ridge``), so they are told apart by following the annotations.
    """
    keys: list[Any] = []
    current, holder = Config, Config
    for part in loc:
        if _is_union(current):
            holder = current = _member(current, part)
            continue
        if part == "[key]":  # the key itself is wrong, and it is the last one already
            continue
        keys.append(part)
        holder, current = current, _below(current, part)
    return keys, current if _is_union(current) else holder


def _below(annotation: Any, key: Any) -> Any:
    """Annotation of what stands under a key, or None."""
    arguments = typing.get_args(annotation)
    if hasattr(annotation, "model_fields"):
        field = annotation.model_fields.get(key)
        return _plain(field.annotation) if field else None
    if typing.get_origin(annotation) is dict:
        return _plain(arguments[1])
    if typing.get_origin(annotation) is tuple:
        return _plain(arguments[0] if Ellipsis in arguments or key >= len(arguments) else arguments[key])
    return None


def _member(union: Any, tag: Any) -> Any:
    """Member of a union that pydantic calls ``tag``: the block of that kind, or else the list among the members."""
    members = [_plain(member) for member in typing.get_args(union)]
    for member in members:
        if tag == _kind(member) or (str(tag).startswith("tuple") and typing.get_origin(member) is tuple):
            return member
    return None


def _kind(block: Any) -> Any:
    field = getattr(block, "model_fields", {}).get("kind")
    return None if field is None else field.default


def _kinds(union: Any) -> list[str]:
    return [repr(_kind(member)) for member in typing.get_args(union)]


def _fields(block: Any) -> list[str]:
    return list(getattr(block, "model_fields", {}))


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _plain(annotation: Any) -> Any:
    """Annotation without Annotated and without None."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [member for member in members if member is not type(None)]
        if len(kept) == 1:
            return kept[0]
    return annotation


def _suggest(name: str, known: Any) -> str:
    """`` (did you mean ...?)`` or the list of what is known."""
    names = [str(key) for key in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names)})" if names else ""
