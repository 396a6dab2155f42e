"""Datasets: which kinds of study there are, one class each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, SerializeAsAny, Tag

from brain2clip.settings.base import EXTERNAL, from_outside, tag
from brain2clip.settings.studies_eeg import ThingsEeg1Study, ThingsEeg2Study, ThingsMegStudy
from brain2clip.settings.studies_fmri import Bold5000Study, GodStudy, NsdStudy, ThingsFmriStudy
from brain2clip.settings.studies_simulated import SimulatedFmriStudy, SimulatedStudy
from brain2clip.settings.studies_user import BidsStudy, VoxelTableStudy
from brain2clip.settings.study_base import StudyBase

Study = Annotated[
    Annotated[SimulatedStudy, Tag("simulated")]
    | Annotated[BidsStudy, Tag("bids")]
    | Annotated[ThingsEeg2Study, Tag("things_eeg2")]
    | Annotated[ThingsEeg1Study, Tag("things_eeg1")]
    | Annotated[ThingsMegStudy, Tag("things_meg")]
    | Annotated[SimulatedFmriStudy, Tag("simulated_fmri")]
    | Annotated[GodStudy, Tag("god")]
    | Annotated[ThingsFmriStudy, Tag("things_fmri")]
    | Annotated[NsdStudy, Tag("nsd")]
    | Annotated[Bold5000Study, Tag("bold5000")]
    | Annotated[VoxelTableStudy, Tag("voxel_table")]
    | Annotated[SerializeAsAny[StudyBase], from_outside(StudyBase), Tag(EXTERNAL)],
    Discriminator(tag("studies")),
]
