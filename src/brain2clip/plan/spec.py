"""The spec of a job, one JSON: its settings, the fingerprint of its code, and the expected provenance of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from brain2clip import artefact
from brain2clip.fingerprint import fingerprint
from brain2clip.settings import canonical


@dataclass(frozen=True)
class Spec:
    """Spec of a job (:mod:`brain2clip.stage`), and what readers may expect of its artefacts.

    Attributes
    ----------
    stage : str
        Rule and stage.
    settings : mapping
        The settings that the stage reads and nothing else, as JSON.
    modules : tuple of str
        Roots of the fingerprint: the stage's own module and those of the kinds that it loads by name.
    code : str
        Fingerprint of all code that the modules can reach.
    expects : mapping
        Expected provenance of the artefacts that it reads, by upstream stage or by name of input.
    """

    stage: str
    settings: Mapping[str, Any]
    modules: tuple[str, ...] = ()
    code: str = ""
    expects: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def origin(self) -> str:
        """Digest of this spec and of all specs before it."""
        return artefact.origin(self.fields)

    @cached_property
    def expected(self) -> dict[str, Any]:
        """Provenance that readers expect of the artefacts of the job."""
        return {key: self.fields[key] for key in ("stage", "settings", "code")} | {"origin": self.origin}

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The spec as JSON-like mapping."""
        return {
            "format": artefact.FORMAT,
            "stage": self.stage,
            "settings": self.settings,
            "modules": list(self.modules),
            "code": self.code,
            "expects": self.expects,
        }

    @cached_property
    def json(self) -> str:
        """Canonical JSON, as Snakemake compares it and the stage reads it."""
        return canonical(self.fields)


def spec(
    stage: str,
    module: str,
    settings: Mapping[str, Any],
    expects: Mapping[str, Any] | None = None,
    kinds: Sequence[str] = (),
) -> Spec:
    """A spec with the fingerprint of the code that the stage can reach.

    Parameters
    ----------
    stage : str
    module : str
        Dotted name of the stage's module.
    settings : mapping
    expects : mapping, optional
    kinds : sequence of str
        Modules that the stage loads by name.
    """
    modules = (module, *sorted(set(kinds)))
    return Spec(stage, settings, modules, code(*modules), expects or {})


@cache
def code(*modules: str) -> str:
    """Fingerprint of modules; the source does not change while a plan is made."""
    return fingerprint(*modules)
