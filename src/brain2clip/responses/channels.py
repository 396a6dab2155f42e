"""Which channels of a recording are EEG, and on whose word: the table's, the file's, or their names'."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from brain2clip.names import suggestion
from brain2clip.readers import bids_files
from brain2clip.readers.contract import Recording
from brain2clip.stage import InputError

if TYPE_CHECKING:
    import mne

log = logging.getLogger("brain2clip")

#: BIDS channel types that MNE calls by another name; others are the same in lower case.
TYPES = {"VEOG": "eog", "HEOG": "eog", "TRIG": "stim", "REF": "misc", "AUDIO": "misc"}
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


def eeg_channels(raw: mne.io.BaseRaw, recording: Recording) -> list[str]:
    """Names of the EEG channels of a recording, in the order of the file; the log says which, and on whose word.

    ``channels.tsv`` decides. Of channels that it does not list, or with the type ``n/a``, the type in the file does,
    and those whose names are plainly not of EEG are left out, because most formats do not tell types.

    Raises
    ------
    brain2clip.stage.InputError
        When the table names a channel twice or one that the file has not, or when no channel is left.
    """
    in_file: dict[str, str] = dict(zip(raw.ch_names, raw.get_channel_types()))
    path = bids_files.channels_file(recording)
    typed = _typed(raw, recording)
    types = {name: typed.get(name, in_file[name]) for name in in_file}
    named = [name for name, kind in types.items() if kind == "eeg" and name not in typed and NOT_EEG.search(name)]
    chosen = [name for name, kind in types.items() if kind == "eeg" and name not in named]
    if not chosen:
        raise InputError(
            f"{recording.path}: no channel of type EEG among {', '.join(types)}; see column type of {path}"
        )
    _tell(recording, chosen, typed, {name: kind for name, kind in types.items() if kind != "eeg"}, named)
    return chosen


def _typed(raw: mne.io.BaseRaw, recording: Recording) -> dict[str, str]:
    """Types that ``channels.tsv`` tells, as MNE calls them; empty where there is no table."""
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
    return {name: TYPES.get(kind.upper(), kind.lower()) for name, kind in kinds.items() if kind not in ("n/a", "")}


def _tell(
    recording: Recording, chosen: list[str], typed: dict[str, str], others: dict[str, str], named: list[str]
) -> None:
    """Say which channels are taken and on whose word, and which are not."""
    untold = [name for name in chosen if name not in typed]
    words = {
        f"types in {bids_files.channels_file(recording)}": [name for name in chosen if name in typed],
        f"types in {recording.path.name} only, without channels.tsv": untold,
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
