"""Records of downloads as their stage leaves them, for files that a test put in their place."""

from __future__ import annotations

from brain2clip import artefact
from brain2clip.readers import file_records
from brain2clip.readers.downloaded import DownloadedStudy


def write(study: DownloadedStudy, *units: str) -> None:
    """Record what is there now of some units, or of all that a study may need and of which something is there.

    A file that is absent is recorded as the manifest lists it.
    """
    for unit in units or study.downloads():
        entries = study.units[unit]
        if any((study.root / entry.path).is_file() for entry in entries):
            files = [
                file_records.measured(study.root, one.path)
                if (study.root / one.path).is_file()
                else file_records.Listed(one.path, one.size, one.algorithm, one.hash)
                for one in entries
            ]
            artefact.write_json(study.record(unit), file_records.content(study.dataset, files))
