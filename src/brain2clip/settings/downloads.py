"""How files are downloaded."""

from __future__ import annotations

from pydantic import Field, model_validator

from brain2clip.settings.base import Block


class Download(Block):
    """How files are downloaded; results do not depend on it, so that a change reruns nothing."""

    sources: dict[str, str] = Field(
        default_factory=dict,
        description="where to fetch a dataset instead of the addresses in its manifest, e.g. {things-eeg2: "
        "'file:///data/nm000232'} for a folder on this machine, or the address of a mirror",
    )
    at_once: int = Field(4, ge=1, le=32, description="downloads that run at the same time")
    retries: int = Field(5, ge=0, le=1000, description="further attempts after a broken transfer, with growing pauses")
    timeout_s: float = Field(60.0, gt=0, description="longest time without data from a server, s")

    @model_validator(mode="after")
    def _addresses(self) -> Download:
        for name, source in self.sources.items():
            if not source.startswith(("http://", "https://", "file:///")):
                raise ValueError(f"sources.{name}: {source!r} is not an address; expected https://… or file:///FOLDER")
        return self
