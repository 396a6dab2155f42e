"""Which channels of a recording are EEG or MEG, according to the table, the file, or their names."""

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
#: The same for MEG; MEGGRAD is not a BIDS type, but occurs in datasets of the field.
MEG_TYPES = {
    **{"MEGMAG": "mag", "MEGGRADAXIAL": "mag", "MEGGRADPLANAR": "grad", "MEGGRAD": "grad"},
    **{"MEGREFMAG": "ref_meg", "MEGREFGRADAXIAL": "ref_meg", "MEGREFGRADPLANAR": "ref_meg"},
}
#: Parts of the names of channels that are clearly not EEG: other signals of the body, triggers, clocks, positions.
NOT_EEG = re.compile(
    r"e[ockmr]g|ekg|exg|gsr|eda$|ppg|pleth|puls|resp|s[ap]o2|pupil|gaze|eye|temperature|^temp\b|acc(el|\b|_|[xyz])|gyro"
    r"|magn|trig|stat(us)?\b|^sti|stim|ttl|marker|event|annotation|photo|diode|light|audio|sound|misc|^aux|clock|count"
    r"|battery|joystick|mouse|button|key|pos(ition)?[ _-]?[xyz0-9]*$|^[xyz]$",
    re.IGNORECASE,
)
#: Names of electrodes: the 10-05 system, and numbers with a letter of the caps of BioSemi, EGI and others.
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
        See :func:`eeg_channels` and :func:`meg_channels`.
    """
    return meg_channels(raw, recording) if recording.datatype == "meg" else eeg_channels(raw, recording)


def unit_of(types: Mapping[str, str]) -> str:
    """Unit of the samples of channels with these types; several types may have several units."""
    return " and ".join(UNITS[kind] for kind in UNITS if kind in types.values())


def meg_channels(raw: mne.io.BaseRaw, recording: Recording) -> list[str]:
    """Names of the MEG sensors of a recording, in the order of the file; the log counts them by type.

    Reference channels are left out. If types come from the table (``recording.types_from``), each sensor must have the
    same type in the file: only its coil says what it measures, and in which unit.

    Raises
    ------
    brain2clip.stage.InputError
        If the table lists a channel twice or one that is not in the file, if both contradict each other, or if no
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
                "%s: %s gives %s of these sensors another type (%s); the type in the file is used",
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
                    f"{recording.path.name}; expected both to agree: correct the table, or take the types of the file "
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
    """Error if no sensor has the wanted types in the table or in the file."""
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
        "correct the table"
    )


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def eeg_channels(raw: mne.io.BaseRaw, recording: Recording) -> list[str]:
    """Names of the EEG channels of a recording, in the order of the file; the log has them and where types are from.

    Types come from ``channels.tsv``, unless ``recording.types_from`` is the file. Channels that the table does not
    list, or with the type ``n/a``, have the type in the file. Those whose names are clearly not EEG are left out,
    because most formats have no types.

    Raises
    ------
    brain2clip.stage.InputError
        If the table lists a channel twice or one that is not in the file, or if no channel is left.
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
            f"{recording.path}: no channel of type EEG among {', '.join(types)}; see the column type in {path}"
        )
    _tell(recording, found, typed, {name: kind for name, kind in types.items() if kind != "eeg"}, named)
    return found


def _of_file(recording: Recording) -> dict[str, str]:
    """Types of the table are ignored: types of the file are used."""
    log.info("%s: types of channels are those of the file; types in channels.tsv are ignored", recording.name)
    return {}


def _written(raw: mne.io.BaseRaw, recording: Recording) -> dict[str, str]:
    """Types in ``channels.tsv``, unchanged; empty if there is no table."""
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
    """Log which channels are used, the source of their types, and which are left out."""
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
