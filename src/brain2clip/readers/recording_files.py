"""The files of one recording on disk, and whether they are complete according to the header of each format.

The samples of a recording are in files of its own name, and in no others: a header that was renamed by hand still names
the data of another run. Standard library only: the Snakefile imports this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from brain2clip.readers import placeholders
from brain2clip.stage import InputError

#: Bytes of a sample by BinaryFormat of a BrainVision header.
SAMPLE_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
#: V per unit, as headers and channels.tsv write it (BIDS: SI, micro as Greek mu or as the sign, or u).
VOLTS = {
    **{"V": 1.0, "mV": 1e-3, "nV": 1e-9, "Volt": 1.0, "Volts": 1.0, "volt": 1.0, "volts": 1.0},
    # The last three are the signs in Shift JIS and in UTF-8, read as Latin-1 as EDF wants it.
    **{f"{micro}V": 1e-6 for micro in ("\u00b5", "\u03bc", "u", "\x83\xca", "\u00c2\u00b5", "\u00ce\u00bc")},
    **{"microV": 1e-6, "microvolt": 1e-6, "microvolts": 1e-6, "Microvolt": 1e-6},
}
#: Files without which the folder of a CTF recording is none; they are called as the folder is.
CTF_FILES = (".res4", ".meg4")
#: How the file with the samples of a BTi (4D) recording may be called, within its folder.
BTI_FILES = ("c,rf*", "hc,rf*", "e,rf*", "0")
BTI_CONFIG, BTI_HEAD = "config", "hs_file"
_SPLIT = re.compile(r"_split-[0-9]+")
_PART = re.compile(r"-[0-9]+")


def data_files(path: Path) -> list[Path]:
    """Files that hold a recording: what MNE is told to open, the samples, the markers.

    Parameters
    ----------
    path : Path
        File that MNE opens; of a folder (CTF, BTi) all files directly in it.

    Raises
    ------
    brain2clip.stage.InputError
        When a header is absent or no header, or names files of another name than its own; when a folder lacks a file
        without which it is no recording.
    """
    if path.is_dir():
        return _in_folder(path)
    ending = path.suffix.lower()
    if ending in (".vhdr", ".ahdr"):
        return [path, *_named(path)]
    if ending == ".fif":
        return [path, *(one for one in _parts(path) if one != path)]
    if ending in (".edf", ".bdf", ".gdf", ".con", ".sqd"):
        return [path]
    beside = {path.with_suffix(end) for end in (".fdt", ".dat")} if ending == ".set" else set(path.parent.glob("*"))
    own = (one for one in beside if one.stem == path.stem and one.suffix not in (path.suffix, ".json"))
    return [path, *sorted(one for one in own if one.is_file())]


def check_complete(path: Path) -> None:
    """Refuse files of a recording that are not data, or shorter or longer than the header says.

    Raises
    ------
    brain2clip.stage.InputError
        Names the file, its size and the size that the header promises.
    """
    if path.is_dir():
        for one in _needed(path):  # others may well be empty
            placeholders.refuse(one)
        return
    for one in data_files(path):
        placeholders.refuse(one)
    ending = path.suffix.lower()
    if ending == ".vhdr":
        _check_brainvision(path)
    elif ending in (".edf", ".bdf"):
        _check_edf(path)


def units(path: Path) -> dict[str, str]:
    """Physical dimension of each signal by its label, of EDF and BDF; other formats fix or carry it themselves."""
    if path.suffix.lower() not in (".edf", ".bdf"):
        return {}
    count, fields = _edf_header(path)
    labels = [fields[16 * place : 16 * place + 16] for place in range(count)]
    dimensions = [fields[96 * count + 8 * place : 96 * count + 8 * place + 8] for place in range(count)]
    return {label.strip(): unit.strip() for label, unit in zip(labels, dimensions)}


def is_discontinuous(path: Path) -> bool:
    """Whether the header of an EDF or BDF file says that there is time between its records (EDF+D, BDF+D)."""
    if path.suffix.lower() not in (".edf", ".bdf"):
        return False
    with path.open("rb") as file:
        return file.read(236)[192:].startswith((b"EDF+D", b"BDF+D"))


def bti_samples(folder: Path) -> Path:
    """The file with the samples in the folder of a BTi recording.

    Raises
    ------
    brain2clip.stage.InputError
        When there is none, or more than one.
    """
    found = sorted({one for name in BTI_FILES for one in folder.glob(name)})
    if len(found) != 1:
        names = ", ".join(sorted(one.name for one in folder.iterdir())[:8]) or "nothing"
        raise InputError(
            f"{folder}: {len(found) or 'no'} files with the samples of a BTi recording ({' or '.join(BTI_FILES)}); "
            f"found {names}\n  expected one of them, and {BTI_CONFIG}: get the folder again, or take away what is no "
            "recording"
        )
    return found[0]


# ------------------------------------------------------------------------------------------ CTF and BTi


def _in_folder(path: Path) -> list[Path]:
    """Files directly in the folder of a recording: measurements of head positions lie in folders within it."""
    there = {one for one in path.iterdir() if one.is_file() and not one.name.startswith(".")}
    return sorted(there | set(_needed(path)))


def _needed(path: Path) -> list[Path]:
    """Files without which a folder is no recording, there or not."""
    if path.suffix.lower() != ".ds":
        return [bti_samples(path), path / BTI_CONFIG]
    needed = [path / f"{path.stem}{ending}" for ending in CTF_FILES]
    for one in needed:
        others = [other.name for other in sorted(path.glob(f"*{one.suffix}")) if not other.name.startswith(".")]
        if others and one.name not in others:
            raise InputError(
                f"{path}: holds {others[0]}, but the files of a CTF recording are called as their folder is, "
                f"{one.name}\n  the folder was renamed by hand: rename it by mne_bids.copyfiles.copyfile_ctf, or give "
                "it back its name"
            )
    return needed


# ------------------------------------------------------------------------------------------ BrainVision


def _named(path: Path) -> Iterator[Path]:
    """Data and markers that a BrainVision header names."""
    header = brainvision_header(path)
    for key, endings in (("DataFile", (".eeg", ".dat", ".avg")), ("MarkerFile", (".vmrk",))):
        name = header.get(key, "")
        if not name and key == "MarkerFile":
            continue
        if Path(name).stem != path.stem or Path(name).name != name:
            found = [path.with_suffix(end).name for end in endings if path.with_suffix(end).is_file()]
            if found:
                advice = f"{found[0]} is in the same folder: if it belongs to this recording, write {key}={found[0]}"
            elif key == "MarkerFile":
                advice = "there is no .vmrk file for this recording: remove the line from the header"
            else:
                advice = f"expected {path.stem}{endings[0]}, which is not there: get it, and write its name"
            raise InputError(
                f"{path}: {key} is {name or 'absent'}, which is not a file of this recording: the names differ\n"
                f"  {advice} (mne_bids.copyfiles.copyfile_brainvision renames a recording and the names in its header)"
            )
        own = path.with_name(name)
        if not own.exists():
            placeholders.refuse(own)
        yield own


def brainvision_header(path: Path) -> dict[str, str]:
    """Keys of the sections of a BrainVision header that describe its files."""
    placeholders.refuse(path)
    content = path.read_bytes()
    text = content.decode("utf-8-sig" if b"UTF-8" in content else "cp1252", errors="replace")
    found, wanted = {}, False
    for line in text.splitlines():
        if line.startswith("["):
            wanted = line.strip() in ("[Common Infos]", "[Binary Infos]")
        elif wanted and not line.startswith(";"):
            key, equals, value = line.partition("=")
            if equals:
                found[key.strip()] = value.strip()
    if not found:
        raise InputError(f"{path}: not a BrainVision header (no section [Common Infos]); get the file again")
    return found


def _check_brainvision(path: Path) -> None:
    header, data = brainvision_header(path), data_files(path)[1]
    size = SAMPLE_BYTES.get(header.get("BinaryFormat", ""))
    count = header.get("NumberOfChannels", "")
    if header.get("DataFormat") != "BINARY" or size is None or not count.isdecimal() or int(count) < 1:
        return  # MNE's reader says what is wrong
    frame = size * int(count)
    points, found = header.get("DataPoints", ""), data.stat().st_size
    whole = frame * int(points) if points.isdecimal() and int(points) else -(-found // frame) * frame
    if found != whole:
        _refuse_size(data, found, whole, f"{path.name}, {count} channels")


# -------------------------------------------------------------------------------------------- EDF, BDF


def _edf_header(path: Path) -> tuple[int, str]:
    """Number of signals, and the fields of all signals one after the other (of 256 bytes each)."""
    placeholders.refuse(path)
    with path.open("rb") as file:
        count = file.read(256)[252:].decode("latin-1").strip()
        number = int(count) if count.isdecimal() else 0
        fields = file.read(256 * number).decode("latin-1")
    if not number or len(fields) < 256 * number:
        raise InputError(f"{path}: not a complete EDF or BDF header ({path.stat().st_size} bytes); get the file again")
    return number, fields


def _check_edf(path: Path) -> None:
    count, fields = _edf_header(path)
    with path.open("rb") as file:
        head = file.read(256)
    records = head[236:244].decode("latin-1").strip()
    samples = [fields[216 * count + 8 * place : 216 * count + 8 * place + 8].strip() for place in range(count)]
    if not (records.strip("0").isdecimal() and all(one.isdecimal() for one in samples)):
        return  # -1 or 0: not closed in order, its end is where the file ends
    width = 3 if head[0] == 0xFF or path.suffix.lower() == ".bdf" else 2
    found, whole = path.stat().st_size, 256 * (count + 1) + width * int(records) * sum(map(int, samples))
    if found != whole:
        _refuse_size(path, found, whole, f"{records} records")


def _refuse_size(data: Path, found: int, whole: int, promise: str) -> None:
    raise InputError(
        f"{data}: {found} bytes, but the header ({promise}) promises {whole}; "
        + ("the file was cut short" if found < whole else "there is more than the header says")
        + ": get the recording again"
    )


# ------------------------------------------------------------------------------------------------- FIF


def _parts(path: Path) -> list[Path]:
    """Parts of a split FIF file beside its first, by their names: ``_split-02_eeg.fif`` or ``_eeg-1.fif``."""
    bare = _SPLIT.sub("", path.stem)
    alike = (one for one in path.parent.glob("*.fif") if _SPLIT.sub("", one.stem).startswith(bare))
    return sorted(one for one in alike if _PART.fullmatch(_SPLIT.sub("", one.stem).removeprefix(bare) or "-0"))
