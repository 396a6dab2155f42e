"""Every setting of the pipeline as frozen pydantic classes: one file per block, each field with its unit.

``load`` turns the merged YAML into a :class:`Config`: unknown keys fail with a suggestion, all errors are
reported at once, and values are coerced (8 and 8.0 are one value) before any stage sees them.
The JSON schema and ``docs/configuration.md`` are generated from these classes.
"""

from brain2clip.settings.adapters import Adapter, AdapterBase, Lora
from brain2clip.settings.applied import Apply
from brain2clip.settings.augmentations import (
    AugmentationBase,
    ChannelDropout,
    ChannelSmoothing,
    GaussianNoise,
    Mixup,
    ResponseAugmentation,
    TimeDropout,
    TimeShift,
)
from brain2clip.settings.bands import Band
from brain2clip.settings.base import NAME, Block, Kind, Name, SettingsError, canonical, dump, neutral, parse
from brain2clip.settings.config import Config
from brain2clip.settings.debugging import debug
from brain2clip.settings.downloads import Download
from brain2clip.settings.encoders import (
    Atm,
    Braindecode,
    BrainMlp,
    DeepNet,
    EegNet,
    EegProject,
    Encoder,
    EncoderBase,
    Nice,
    ShallowNet,
    SpatialFilters,
    Stae,
    TsConv,
)
from brain2clip.settings.experiments import Experiment
from brain2clip.settings.exports import Export
from brain2clip.settings.figures import Figures
from brain2clip.settings.files import read
from brain2clip.settings.filters import Filter, FilterBase, Fixed, Gains, NoFilter, Softmax
from brain2clip.settings.generators import Generator, GeneratorBase, IpAdapterGenerator, KandinskyGenerator, Start
from brain2clip.settings.heads import Head
from brain2clip.settings.inputs import Inputs
from brain2clip.settings.judges import Judge, JudgeBase, OpenClipJudge, SwavJudge, TorchvisionJudge
from brain2clip.settings.loading import load, merge, not_inherited
from brain2clip.settings.mappings import (
    Augmentation,
    Classifier,
    LinearNetwork,
    MixerNetwork,
    MlpNetwork,
    Network,
    NetworkBase,
    SoftClip,
    Supervision,
    VaeNetwork,
)
from brain2clip.settings.methods import (
    BrainMapping,
    Contrastive,
    IdealObserver,
    Imported,
    Lda,
    Method,
    MethodBase,
    Ridge,
    TrainedMethod,
)
from brain2clip.settings.objective import Mmd, Objective
from brain2clip.settings.optimisers import Budget, MappingBudget, Optimiser, SecondStage, Selection
from brain2clip.settings.page import Page
from brain2clip.settings.protocols import Protocol
from brain2clip.settings.readouts import (
    Concatenation,
    MeanOfVectors,
    Mix,
    OneVector,
    Part,
    Readout,
    ReadoutBase,
    Spatial,
)
from brain2clip.settings.responses import (
    MvnnWhitening,
    NoWhitening,
    Repetitions,
    Responses,
    RobustWhitening,
    Whitening,
    WhiteningBase,
    ZscoreWhitening,
)
from brain2clip.settings.retrieval import Pools, Retrieval
from brain2clip.settings.rois import Roi
from brain2clip.settings.schedules import Constant, Cosine, OneCycle, Schedule, ScheduleBase, Step
from brain2clip.settings.studies import Study
from brain2clip.settings.studies_eeg import ThingsEeg1Study, ThingsEeg2Study, ThingsMegStudy
from brain2clip.settings.studies_fmri import Bold5000Study, GodStudy, NsdStudy, ThingsFmriStudy
from brain2clip.settings.studies_simulated import SimulatedFmriStudy, SimulatedNoise, SimulatedStudy
from brain2clip.settings.studies_user import BidsStudy, VoxelTableStudy
from brain2clip.settings.study_base import EegStudyBase, Split, StudyBase, UserStudyBase, VoxelStudyBase
from brain2clip.settings.tables import (
    AblationTable,
    ClassesTable,
    ComparisonBase,
    ContrastTable,
    CostsTable,
    GenerationTable,
    MethodsTable,
    OverviewTable,
    RepetitionsTable,
    SessionsTable,
    Table,
    TableBase,
)
from brain2clip.settings.towers import FilterBank, Tower
from brain2clip.settings.vectors import Vector
from brain2clip.settings.views import Blur, FovealBlur, LowPass, LowResolution, Mosaic, Noise, View, ViewBase
from brain2clip.settings.visual import (
    FrozenVisual,
    Fusion,
    NeuroClipVisual,
    SharedPrompts,
    UncertaintyVisual,
    Visual,
    VisualBase,
)
from brain2clip.settings.voxels import Voxels

__all__ = [
    "NAME",
    "AblationTable",
    "Adapter",
    "AdapterBase",
    "Apply",
    "Atm",
    "Augmentation",
    "AugmentationBase",
    "Band",
    "BidsStudy",
    "Block",
    "Blur",
    "Bold5000Study",
    "BrainMapping",
    "BrainMlp",
    "Braindecode",
    "Budget",
    "ChannelDropout",
    "ChannelSmoothing",
    "ClassesTable",
    "Classifier",
    "ComparisonBase",
    "Concatenation",
    "Config",
    "Constant",
    "ContrastTable",
    "Contrastive",
    "Cosine",
    "CostsTable",
    "DeepNet",
    "Download",
    "EegNet",
    "EegProject",
    "EegStudyBase",
    "Encoder",
    "EncoderBase",
    "Experiment",
    "Export",
    "Figures",
    "Filter",
    "FilterBank",
    "FilterBase",
    "Fixed",
    "FovealBlur",
    "FrozenVisual",
    "Fusion",
    "Gains",
    "GaussianNoise",
    "GenerationTable",
    "Generator",
    "GeneratorBase",
    "GodStudy",
    "Head",
    "IdealObserver",
    "Imported",
    "Inputs",
    "IpAdapterGenerator",
    "Judge",
    "JudgeBase",
    "KandinskyGenerator",
    "Kind",
    "Lda",
    "LinearNetwork",
    "Lora",
    "LowPass",
    "LowResolution",
    "MappingBudget",
    "MeanOfVectors",
    "Method",
    "MethodBase",
    "MethodsTable",
    "Mix",
    "MixerNetwork",
    "Mixup",
    "MlpNetwork",
    "Mmd",
    "Mosaic",
    "MvnnWhitening",
    "Name",
    "Network",
    "NetworkBase",
    "NeuroClipVisual",
    "Nice",
    "NoFilter",
    "NoWhitening",
    "Noise",
    "NsdStudy",
    "Objective",
    "OneCycle",
    "OneVector",
    "OpenClipJudge",
    "Optimiser",
    "OverviewTable",
    "Page",
    "Part",
    "Pools",
    "Protocol",
    "Readout",
    "ReadoutBase",
    "Repetitions",
    "RepetitionsTable",
    "ResponseAugmentation",
    "Responses",
    "Retrieval",
    "Ridge",
    "RobustWhitening",
    "Roi",
    "Schedule",
    "ScheduleBase",
    "SecondStage",
    "Selection",
    "SessionsTable",
    "SettingsError",
    "ShallowNet",
    "SharedPrompts",
    "SimulatedFmriStudy",
    "SimulatedNoise",
    "SimulatedStudy",
    "SoftClip",
    "Softmax",
    "Spatial",
    "SpatialFilters",
    "Split",
    "Stae",
    "Start",
    "Step",
    "Study",
    "StudyBase",
    "Supervision",
    "SwavJudge",
    "Table",
    "TableBase",
    "ThingsEeg1Study",
    "ThingsEeg2Study",
    "ThingsFmriStudy",
    "ThingsMegStudy",
    "TimeDropout",
    "TimeShift",
    "TorchvisionJudge",
    "Tower",
    "TrainedMethod",
    "TsConv",
    "UncertaintyVisual",
    "UserStudyBase",
    "VaeNetwork",
    "Vector",
    "View",
    "ViewBase",
    "Visual",
    "VisualBase",
    "VoxelStudyBase",
    "VoxelTableStudy",
    "Voxels",
    "Whitening",
    "WhiteningBase",
    "ZscoreWhitening",
    "canonical",
    "debug",
    "dump",
    "load",
    "merge",
    "neutral",
    "not_inherited",
    "parse",
    "read",
]
