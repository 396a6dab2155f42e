"""A small version of any configuration, which runs from start to end in a minute or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brain2clip.settings.config import Config

#: Largest values of settings of methods, wherever they stand.
LARGEST = {
    **{"epochs": 2, "frozen_epochs": 1, "after": 1, "batch_size": 32, "components": 8, "folds": 3},
    **{"soft_perplexity": 4, "concepts": 4, "pictures_per_concept": 1, "repetitions": 1},
}
#: The same of retrieval.
RETRIEVAL = {"bootstrap": 100, "draws": 3}
#: Folder of its results, below those of the configuration.
FOLDER = "debug"


def debug(config: Config, subjects: Mapping[str, Sequence[str]]) -> Config:
    """The same studies, methods and tables with few subjects, pictures, epochs and one seed, and results of its own.

    Both sides of each split stay: of recorded studies the first concepts of either side are taken, simulated ones are
    simulated smaller. Exports are left out. Of a debug version it is the same.

    Parameters
    ----------
    config : Config
    subjects : mapping
        Labels of all subjects by study.

    Returns
    -------
    Config
        Valid, with ``debug: true``.
    """
    if config.debug:
        return config
    raw = config.model_dump(mode="json")
    for name, study in config.studies.items():
        raw["studies"][name] |= study.smaller(subjects[name])
    _of_those_sessions(raw, config)
    for experiment in raw["experiments"].values():
        experiment["seeds"] = experiment["seeds"][:1]
        ours = [name for name in experiment["methods"] if config.methods[name].ranked_by != "imported"]
        experiment["methods"] = ours or experiment["methods"]  # files of results are of the whole test
    raw["methods"] = _limited(raw["methods"], LARGEST)
    raw["retrieval"] = _limited(raw["retrieval"], RETRIEVAL)
    raw |= {"exports": {}, "debug": True, "results": f"{config.results.rstrip('/')}/{FOLDER}"}
    return Config.model_validate(raw)


def _of_those_sessions(raw: dict[str, Any], config: Config) -> None:
    """Protocols take no more sessions than their studies have now."""
    for name, protocol in raw["protocols"].items():
        if isinstance(protocol.get("sessions"), int):
            studies = {one.study for one in config.experiments.values() if name in one.protocols}
            smaller = (type(config.studies[one]).model_validate(raw["studies"][one]) for one in studies)
            known = [one.recorded_sessions for one in smaller]
            protocol["sessions"] = min([protocol["sessions"], *(count for count in known if count)])


def _limited(value: Any, largest: Mapping[str, int]) -> Any:
    """A copy in which no number of those names is larger."""
    if isinstance(value, list):
        return [_limited(one, largest) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: min(one, largest[key]) if key in largest and isinstance(one, int | float) else _limited(one, largest)
        for key, one in value.items()
    }
