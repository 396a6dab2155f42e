"""Which channels of a recording are EEG or MEG, and on whose word: the table's, the file's, or their names'."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from brain2clip.names import UNITS, suggestion
from brain2clip.readers import bids_files
from brain2clip.readers.contract import PICKS, Recording
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne

log = logging.getLogger("brain2clip")

#: BIDS channel types that MNE calls by another name; others are the same in lower case.
TYPES = {"VEOG": "eog", "HEOG": "eog", "TRIG": "stim", "REF": "misc", "AUDIO": "misc"}
#: The same of MEG; MEGGRAD is not of BIDS, but in datasets of the field.
MEG_TYPES = {
    **{"MEGMAG": "mag", "MEGGRADAXIAL": "mag", "MEGGRADPLANAR": "grad", "MEGGRAD": "grad"},
    **{"MEGREFMAG": "ref_meg", "MEGREFGRADAXIAL": "ref_meg", "MEGREFGRADPLANAR": "ref_meg"},
}
#: What names of channels hold that are plainly no EEG: other signals of the body, triggers, clocks, positions.
NOT_EEG = re.compile(
    r"e[ockmr]g|ekg|exg|gsr|eda$|ppg|pleth|puls|resp|s[ap]o2|pupil|gaze|eye|temperature|^temp\b|acc(el|\b|_|[xyz])|gyro"
    r"|magn|trig|stat(us)?\b|^sti|stim|ttl|marker|event|annotation|photo|diode|light|audio|sound|misc|^aux|clock|count"
    r"|battery|joystick|mouse|button|key|pos(ition)?[ _-]?[xyz0-9]*$|^[xyz]$",
    re.IGNORECASE,
)
#: How electrodes are called: the 10-05 system, and numbers with a letter of the caps of BioSemi, EGI and others.
ELECTRODE = re.compile(
    r"(a?fp|aff?|f|ff?[ct]|fcc|ftt|t|c|ccp|cpp?|t?tp|tpp|p|ppo|poo?|oi?|i|n)(z|\d{1,2}h?)|[am][12]|[a-h]\d{1,2}|e?\d{1,3}"
    r"|(ch|eeg)\D?\d{1,3}|(vref|cz?|ref)",
    re.IGNORECASE,
)
_AROUND = re.compile(r"^eeg[ _-]+|[ _-](ref|le|avg?|[am]\d)$|\.+$", re.IGNORECASE)


def chosen(raw: mne.io.BaseRaw, recording: Recording) -> list[str]:
    """Names of the channels of a recording that are read, in the order of the file.

    Raises
    ------
    brain2clip.stage.InputError
        What :func:`eeg_channels` and :func:`meg_channels` refuse.
    """
    return meg_channels(raw, recording) if recording.datatype == "meg" else eeg_channels(raw, recording)


def unit_of(types: Mapping[str, str]) -> str:
    """Unit of the samples of channels with these types; of several types there is more than one."""
    return " and ".join(UNITS[kind] for kind in UNITS if kind in types.values())


def meg_channels(raw: mne.io.BaseRaw, recording: Recording) -> list[str]:
    """Names of the MEG sensors of a recording, in the order of the file; the log says which, and on whose word.

    Reference channels are none. Where the table tells (``recording.types_from``), a sensor of the table must be one of
    that kind in the file, too: without its coil nobody knows what it measures, nor in which unit.

    Raises
    ------
    brain2clip.stage.InputError
        When the table names a channel twice or one that the file has not, when both contradict each other, or when no
        sensor is left.
    """
    in_file: dict[str, str] = dict(zip(raw.ch_names, raw.get_channel_types()))
    written = _written(raw, recording)
    sensors = {name: kind for name, kind in in_file.items() if kind in PICKS["meg"]}
    if recording.types_from == "file":
        found = [name for name, kind in sensors.items() if kind in recording.picks]
        word = recording.path.name
        told = {name: MEG_TYPES.get(kind.upper(), "no sensor") for name, kind in written.items()}
        against = Counter(written[name] for name in found if told.get(name, in_file[name]) != in_file[name])
        if against:
            log.info(
                "%s: %s calls %s of these sensors another type (%s); the file's type counts",
                *(recording.name, bids_files.channels_file(recording).name, against.total(), _counts(against)),
            )
    else:
        word = bids_files.channels_file(recording).name
        told = {name: MEG_TYPES.get(kind.upper(), kind.lower()) for name, kind in written.items()}
        found = [name for name, kind in told.items() if kind in recording.picks]
        for name in found:
            if in_file[name] != told[name]:
                raise InputError(
                    f"{bids_files.channels_file(recording)}: {name} is {written[name]}, but of type {in_file[name]} in "
                    f"{recording.path.name}; expected both to agree: mend the table, or take the types of the file "
                    "(studies.*.channel_types: file)"
                )
        found = [name for name in in_file if name in found]
    if not found:
        raise _no_sensor(recording, sensors, written)
    kinds = Counter(in_file[name] for name in found)
    log.info("%s: %d MEG channels (%s; types in %s)", recording.name, len(found), _counts(kinds), word)
    left = Counter(kind for name, kind in in_file.items() if name not in set(found))
    if left:
        log.info("%s: left out, of another type: %s", recording.name, _counts(left))
    return found


def _no_sensor(recording: Recording, sensors: Mapping[str, str], written: Mapping[str, str]) -> InputError:
    """There is no sensor of the wanted types, by the table or by the file."""
    wanted = " or ".join(recording.picks)
    there = _counts(Counter(sensors.values())) or "none"
    if recording.types_from == "file":
        return InputError(
            f"{recording.path}: no MEG sensor of type {wanted} in the file (sensors there: {there}); see the setting "
            "studies.*.picks"
        )
    path = bids_files.channels_file(recording)
    return InputError(
        f"{path}: no MEG sensor of type {wanted} (found {_counts(Counter(written.values())) or 'no channel'}); BIDS "
        "calls sensors MEGMAG, MEGGRADAXIAL or MEGGRADPLANAR\n"
        f"  sensors in {recording.path.name}: {there}; take the types of the file (studies.*.channel_types: file), or "
        "mend the table"
    )


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def eeg_channels(raw: mne.io.BaseRaw, recording: Recording) -> list[str]:
    """Names of the EEG channels of a recording, in the order of the file; the log says which, and on whose word.

    ``channels.tsv`` decides, unless types are to be the file's (``recording.types_from``). Of channels that it does
    not list, or with the type ``n/a``, the type in the file does, and those whose names are plainly not of EEG are left
    out, because most formats do not tell types.

    Raises
    ------
    brain2clip.stage.InputError
        When the table names a channel twice or one that the file has not, or when no channel is left.
    """
    in_file: dict[str, str] = dict(zip(raw.ch_names, raw.get_channel_types()))
    path = bids_files.channels_file(recording)
    written = _written(raw, recording)
    if recording.types_from == "file":
        written = _of_file(recording)
    typed = {name: TYPES.get(kind.upper(), kind.lower()) for name, kind in written.items()}
    types = {name: typed.get(name, in_file[name]) for name in in_file}
    named = [name for name, kind in types.items() if kind == "eeg" and name not in typed and NOT_EEG.search(name)]
    found = [name for name, kind in types.items() if kind == "eeg" and name not in named]
    if not found:
        raise InputError(
            f"{recording.path}: no channel of type EEG among {', '.join(types)}; see column type of {path}"
        )
    _tell(recording, found, typed, {name: kind for name, kind in types.items() if kind != "eeg"}, named)
    return found


def _of_file(recording: Recording) -> dict[str, str]:
    """No type is told by the table: those of the file count."""
    log.info("%s: types of channels are those of the file, whatever channels.tsv says", recording.name)
    return {}


def _written(raw: mne.io.BaseRaw, recording: Recording) -> dict[str, str]:
    """Types that ``channels.tsv`` tells, as they stand there; empty where there is no table."""
    found = bids_files.channel_table(recording)
    if found is None:
        return {}
    path, table = found
    names = bids_files.names_once(table, path)
    lost = [name for name in names if name not in raw.ch_names]
    if lost:
        raise InputError(
            f"{path}: {len(lost)} channels are not in {recording.path.name}: {', '.join(lost[:8])}"
            f"{suggestion(lost[0], raw.ch_names)}\n"
            f"  found there: {', '.join(raw.ch_names)}; the names must agree"
        )
    kinds = dict(zip(names, bids_files.column(table, "type", path, "BIDS")))
    return {name: kind for name, kind in kinds.items() if kind not in ("n/a", "")}


def _tell(
    recording: Recording, chosen: list[str], typed: dict[str, str], others: dict[str, str], named: list[str]
) -> None:
    """Say which channels are taken and on whose word, and which are not."""
    untold = [name for name in chosen if name not in typed]
    alone = "" if recording.types_from == "file" else " only, without channels.tsv"
    words = {
        f"types in {bids_files.channels_file(recording)}": [name for name in chosen if name in typed],
        f"types in {recording.path.name}{alone}": untold,
    }
    for word, names in words.items():
        if names:
            log.info("%s: %d EEG channels (%s): %s", recording.name, len(names), word, ", ".join(names))
    if others:
        listed = ", ".join(f"{name} ({kind})" for name, kind in others.items())
        log.info("%s: left out, of another type: %s", recording.name, listed)
    if named:
        log.warning(
            "%s: left out, because no channels.tsv has their type and their names are not names of EEG channels: %s",
            *(recording.name, ", ".join(named)),
        )
    odd = [name for name in untold if not ELECTRODE.fullmatch(_AROUND.sub("", name))]
    if len(odd) < len(untold) / 2 and odd:
        log.warning(
            "%s: used as EEG, although no electrode has such a name and no channels.tsv has their type: %s",
            *(recording.name, ", ".join(odd)),
        )
    against = [name for name in chosen if name in typed and NOT_EEG.search(name)]
    if against:
        log.warning(
            "%s: EEG according to channels.tsv, but not according to their names: %s",
            recording.name,
            ", ".join(against),
        )
