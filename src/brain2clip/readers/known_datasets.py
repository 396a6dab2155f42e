"""Datasets that would be read wrongly, so they are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

from brain2clip.stage import InputError

#: Why a dataset cannot be read as an ordinary BIDS dataset, by accession.
REFUSED = {
    "nm000134": "Alljoined-1.6M cannot be read as a BIDS dataset: its events tables hold the pictures of the test but "
    "not those of the training (they are in sourcedata/**/*_recording.json), sub-05 ses-04 and sub-06 ses-02 number "
    "their pictures from 1 and all others from 0, and sub-20 ses-01 is a rehearsal of 20 pictures\n"
    "  take another dataset of the same pictures, such as THINGS-EEG2 (kind things_eeg2); docs/datasets.md says more",
}
#: Names of these datasets in their descriptions.
NAMES = {"alljoined-1.6m": "nm000134", "alljoined 1.6m": "nm000134", "alljoined1.6m": "nm000134"}


def check(accession: str, where: str) -> None:
    """Refuse a dataset by its accession.

    Parameters
    ----------
    accession : str
    where : str
        The setting that names it, for the message.

    Raises
    ------
    brain2clip.stage.InputError
        If it is one of :data:`REFUSED`.
    """
    if accession in REFUSED:
        raise InputError(f"{where}: {REFUSED[accession]}")


def check_folder(root: Path, where: str) -> None:
    """Refuse a dataset on disk by its ``dataset_description.json``."""
    path = root / "dataset_description.json"
    if not path.is_file():
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
        name = json.loads(text).get("Name", "")
    except (OSError, UnicodeDecodeError, ValueError, AttributeError):
        return  # the code that needs the file reports what is wrong with it
    for accession in REFUSED:
        if accession in text:
            check(accession, f"{where} ({path})")
    check(NAMES.get(str(name).strip().lower(), ""), f"{where} ({path})")
