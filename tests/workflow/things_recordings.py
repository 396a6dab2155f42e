"""BDF recordings on the real events of THINGS-EEG2, with a code of its own for every picture.

A picture's code is a pattern over the channels in two slots after its onset; both end before the next picture comes, so
that the identity of every presentation can be read back from its response alone.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import zlib
from pathlib import Path

import numpy as np

SFREQ = 1000
#: Slots after the onset that carry the code, s.
SLOTS = ((0.06, 0.10), (0.12, 0.16))
AMPLITUDE_UV = 12.0
NOISE_UV = 4.0
#: One unit of the 24-bit file, µV.
UNIT_UV = 1 / 32
PICTURES = {"train": 16540, "test": 200}


def codes(task: str, n_channels: int) -> np.ndarray:
    """Signs [n_pictures, n_slots, n_channels] of all pictures of a task."""
    rng = np.random.default_rng(20251112 if task == "train" else 7)
    return rng.choice(np.array([-1, 1], np.int8), size=(PICTURES[task], len(SLOTS), n_channels))


def read_events(path: Path) -> list[dict[str, str]]:
    """Rows of an events table."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def channel_names(path: Path) -> list[str]:
    """Names of a channels.tsv, which begins with a byte order mark."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row["name"] for row in csv.DictReader(file, delimiter="\t")]


def write_bdf(path: Path, events: list[dict[str, str]], names: list[str], task: str) -> None:
    """A recording of white noise, drift and the codes of what its events show.

    Targets leave a response like no picture's, so that one taken for a picture is noticed.
    """
    signs = codes(task, len(names))
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    seconds = int(float(events[-1]["onset"])) + 3
    target = rng.choice(np.array([-1, 1], np.int8), size=(len(SLOTS), len(names)))
    begins, patterns = [], []
    for event in events:
        onset = round(float(event["onset"]) * SFREQ)
        shown = signs[int(event["tot_img_number"]) - 1] if event["trial_type"] == "image" else target
        for (begin, end), pattern in zip(SLOTS, shown):
            begins.append((onset + round(begin * SFREQ), onset + round(end * SFREQ)))
            patterns.append(pattern * AMPLITUDE_UV)
    order = np.argsort([begin for begin, _ in begins])
    with path.open("wb") as file:
        file.write(_header(names, seconds))
        place = 0
        for second in range(seconds):
            samples = rng.normal(0, NOISE_UV, (len(names), SFREQ)) + 30 * np.sin(2 * np.pi * (second % 40) / 40)
            place = _add_pulses(samples, second * SFREQ, begins, patterns, order, place)
            values = np.round(samples / UNIT_UV).astype("<i4")
            file.write(values.reshape(-1, 1).view("u1")[:, :3].tobytes())


def _add_pulses(samples, start, begins, patterns, order, place) -> int:
    """Add the pulses that touch this second; returns the first that may touch the next."""
    while place < len(order) and begins[order[place]][1] <= start:
        place += 1
    for index in order[place:]:
        begin, end = begins[index]
        if begin >= start + SFREQ:
            break
        samples[:, max(begin - start, 0) : max(end - start, 0)] += patterns[index][:, None]
    return place


def _header(names: list[str], seconds: int) -> bytes:
    """BDF header: 24-bit samples in µV, records of one second."""
    count = len(names)

    def field(text: object, width: int) -> bytes:
        return str(text).ljust(width)[:width].encode("ascii")

    top = [b"\xff" + field("BIOSEMI", 7), field("X X X X", 80), field("Startdate X X X X", 80)]
    top += [field("01.01.20", 8), field("00.00.00", 8), field(256 * (count + 1), 8), field("24BIT", 44)]
    top += [field(seconds, 8), field(1, 8), field(count, 4)]
    limit = 2**23
    parts = [(names, 16), (["active electrode"] * count, 80), (["uV"] * count, 8)]
    parts += [([f"{-limit * UNIT_UV:g}"] * count, 8), ([f"{(limit - 1) * UNIT_UV:.6g}"] * count, 8)]
    parts += [([-limit] * count, 8), ([limit - 1] * count, 8), ([""] * count, 80), ([SFREQ] * count, 8)]
    return b"".join(top) + b"".join(
        field(value, width) for values, width in [*parts, ([""] * count, 32)] for value in values
    )


def serve(shared: Path, served: Path, recordings: tuple[str, ...]) -> None:
    """A copy of the dataset for a server: real sidecars, and signals on the real events of the named recordings."""
    source = shared / "bids"
    for path in source.iterdir():
        if path.is_file():
            served.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, served / path.name)
    folder = served / "sub-01/ses-01/eeg"
    folder.mkdir(parents=True)
    for path in (source / "sub-01/ses-01/eeg").iterdir():
        if any(path.name.startswith(f"{name}_") for name in recordings) or "_space-" in path.name:
            shutil.copy2(path, folder / path.name)
    for name in recordings:
        task = "test" if "task-test" in name else "train"
        events, names = read_events(folder / f"{name}_events.tsv"), channel_names(folder / f"{name}_channels.tsv")
        write_bdf(folder / f"{name}_eeg.bdf", events, names, task)


def write_manifest(served: Path, base: str, path: Path) -> None:
    """Manifest of everything below a served folder."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "size_bytes", "hash_algorithm", "hash", "url"])
        for one in sorted(one for one in served.rglob("*") if one.is_file()):
            name = one.relative_to(served).as_posix()
            digest = hashlib.sha256(one.read_bytes()).hexdigest()
            rows.writerow([name, one.stat().st_size, "sha256", digest, f"{base}/{name}"])


def aligned(response: np.ndarray, task: str, numbers: np.ndarray) -> np.ndarray:
    """Mean response [n_channels, n_times], each trial and channel multiplied by its sign in the first slot."""
    signs = codes(task, response.shape[1])[numbers - 1, 0].astype(np.float32)
    return np.einsum("nct,nc->ct", response - response.mean(axis=2, keepdims=True), signs) / len(response)


def recovered(response: np.ndarray, times: np.ndarray, task: str) -> np.ndarray:
    """Number (from 1) of the picture whose code each response [n, n_channels, n_times] carries."""
    slots = [(times >= begin + 0.008) & (times < end - 0.008) for begin, end in SLOTS]
    means = np.concatenate([response[:, :, slot].mean(axis=2) for slot in slots], axis=1)
    signs = codes(task, response.shape[1]).reshape(PICTURES[task], -1).astype(np.float32)
    means = (means - means.mean(axis=1, keepdims=True)).astype(np.float32)
    return 1 + np.concatenate([(part @ signs.T).argmax(axis=1) for part in np.array_split(means, 8)])
