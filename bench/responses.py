"""Responses of a session like one of THINGS-EEG2, 63 channels at 1000 Hz to 250 Hz, whitened (preset nice-63).

The stage against MNE's own epochs, resampled and cropped (which neither whitens nor writes anything), and against what
it takes to decode the file and to multiply all epochs by one matrix of the size of baseline, resampling and crop. CPU
seconds at one
thread, each in a process of its own; what a whole session costs and whether memory grows with its runs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
SFREQ, CHANNELS = 1000, 63
#: Presentations of a run and sequences of twenty of them, seconds between sequences.
EVENTS, SEQUENCE, STEP_S, PAUSE_S = {"train": 3342, "test": 4056}, 20, 0.2, 2.7
#: Runs of a session; the last one is the test.
RUNS = 6
#: One unit of a 24-bit file, µV.
UNIT_UV = 1 / 32
PRESET = yaml.safe_load((ROOT / "config.yaml").read_text())["presets"]


def preset() -> dict:
    """Settings of the preset nice-63."""
    found = {**PRESET["gifford-2022"], **PRESET["nice-63"], "repetitions": {}}
    found.pop("base")
    return found


def names() -> list[str]:
    from brain2clip.responses.epoching import CHANNEL_SETS

    return list(CHANNEL_SETS["nice-63"])


def onsets(run: int) -> np.ndarray:
    """Onsets of a run, s."""
    count = np.arange(EVENTS["test" if run == RUNS else "train"])
    return np.round(10 + STEP_S * count + PAUSE_S * (count // SEQUENCE), 3)


def write_run(folder: Path, run: int) -> None:
    """A BDF recording of noise with drifts, its events and channels."""
    name, times, rng = f"sub-01_task-see_run-{run:02d}", onsets(run), np.random.default_rng(run)
    seconds = int(times[-1]) + 8
    limit, columns = 2**23, names()

    def field(values: list, width: int) -> bytes:
        return b"".join(str(value).ljust(width)[:width].encode() for value in values)

    count = len(columns)
    header = b"\xff" + field(["BIOSEMI"], 7) + field(["X X X X", "Startdate X X X X"], 80)
    header += field(["01.01.20", "00.00.00", 256 * (count + 1)], 8) + field(["24BIT"], 44) + field([seconds, 1], 8)
    header += field([count], 4) + field(columns, 16) + field(["active electrode"] * count, 80)
    header += field(["uV"] * count + [f"{-limit * UNIT_UV:g}"] * count + [f"{(limit - 1) * UNIT_UV:.6g}"] * count, 8)
    header += field([-limit] * count + [limit - 1] * count, 8) + field([""] * count, 80)
    header += field([SFREQ] * count, 8) + field([""] * count, 32)
    mixing = np.eye(count, dtype=np.float32) + 0.1 * rng.standard_normal((count, count), dtype=np.float32)
    drift = np.zeros((count, 1), np.float32)
    with (folder / f"{name}_eeg.bdf").open("wb") as file:
        file.write(header)
        for _ in range(seconds):
            drift = 0.9 * drift + rng.normal(0, 10, (count, 1)).astype(np.float32)
            samples = mixing @ rng.standard_normal((count, SFREQ), dtype=np.float32) * 8 + drift
            file.write((samples / UNIT_UV).astype("<i4").reshape(-1, 1).view("u1")[:, :3].tobytes())
    table = ["onset\tduration\ttrial_type"]
    table += [f"{onset:.3f}\t0.1\t{('face', 'house')[number % 2]}" for number, onset in enumerate(times)]
    (folder / f"{name}_events.tsv").write_text("\n".join(table) + "\n")
    rows = ["name\ttype\tunits\tstatus", *(f"{one}\tEEG\tµV\tgood" for one in columns)]
    (folder / f"{name}_channels.tsv").write_text("\n".join(rows) + "\n")


def ours(root: Path, runs: list[int]) -> None:
    """The stage ``epochs`` as it is called."""
    from brain2clip.responses import epochs
    from brain2clip.stage import Job

    some = root / f"runs-{len(runs)}"
    (some / "sub-01/eeg").mkdir(parents=True, exist_ok=True)
    for path in (root / "sub-01/eeg").iterdir():
        if any(f"_run-{run:02d}_" in path.name for run in runs):
            (some / "sub-01/eeg" / path.name).unlink(missing_ok=True)
            (some / "sub-01/eeg" / path.name).hardlink_to(path)
    study = {
        **{"kind": "bids", "root": str(some), "tasks": ["see"], "stimulus": "trial_type"},
        "split": {"by": "run", "test": [f"{RUNS:02d}"]},
        "categories": {name: [f"a photo of a {name}"] for name in ("face", "house")},
    }
    settings = {"name": "bench", "study": study, "responses": preset(), "band": {}, "subject": "01", "results": "r"}
    epochs.run(Job("epochs", settings, "code", {}, {}, {"responses": some / "responses.h5"}))


def obvious(root: Path, runs: list[int]) -> None:
    """MNE: read, epochs with baseline, resample, crop."""
    import mne

    for run in runs:
        raw = mne.io.read_raw_bdf(
            root / f"sub-01/eeg/sub-01_task-see_run-{run:02d}_eeg.bdf", preload=True, verbose="ERROR"
        )
        times = onsets(run)
        events = np.stack([np.round(times * SFREQ), 0 * times, 0 * times + 1], axis=1).astype(int)
        epochs = mne.Epochs(
            raw, events, tmin=-0.2, tmax=1 - 1 / SFREQ, baseline=(None, 0), preload=True, verbose="ERROR"
        )
        del raw
        data = epochs.resample(250, verbose="ERROR").crop(0, None).get_data(copy=False)
        assert data.shape == (len(times), CHANNELS, 250)


def least(root: Path, runs: list[int]) -> None:
    """Decode the file, cut, and one matrix product per 64 epochs."""
    matrix = np.random.default_rng(0).standard_normal((1200, 250))
    for run in runs:
        raw = np.fromfile(root / f"sub-01/eeg/sub-01_task-see_run-{run:02d}_eeg.bdf", "u1", offset=256 * (CHANNELS + 1))
        samples = np.zeros((len(raw) // 3, 4), "u1")
        samples[:, 1:] = raw.reshape(-1, 3)
        del raw
        seconds = samples.view("<i4").reshape(-1, CHANNELS, SFREQ)
        signal = np.empty((CHANNELS, len(seconds) * SFREQ))
        np.multiply(seconds.transpose(1, 0, 2), UNIT_UV * 1e-6 / 256, out=signal.reshape(CHANNELS, -1, SFREQ))
        del samples, seconds
        windows = np.lib.stride_tricks.sliding_window_view(signal, 1200, axis=1)
        starts = np.round(onsets(run) * SFREQ).astype(int) - 200
        for begin in range(0, len(starts), 64):
            windows[:, starts[begin : begin + 64]].reshape(-1, 1200) @ matrix


PARTS = {"ours": ours, "obvious": obvious, "least": least}


def measured(part: str, root: Path, runs: int) -> dict:
    """CPU seconds and peak memory (MB) of a part in a process of its own, imports and start-up left out."""
    command = [sys.executable, __file__, part, str(root), str(runs)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
    return json.loads(found.stdout.splitlines()[-1])


def child(part: str, root: str, runs: str) -> None:
    import mne

    mne.set_log_level("ERROR")
    if part == "write":
        folder = Path(root) / "sub-01/eeg"
        folder.mkdir(parents=True)
        for run in range(1, RUNS + 1):
            write_run(folder, run)
    else:
        start = time.process_time()
        PARTS[part](Path(root), [RUNS, *range(1, int(runs) + 1)])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(json.dumps({"s": time.process_time() - start, "mb": peak}))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run([sys.executable, __file__, "write", folder, "0"], check=True)
        found = {part: measured(part, root, 1) for part in ("least", "ours", "obvious")}
        session = measured("ours", root, RUNS - 1)
        for part, one in found.items():
            print(f"test and one training run, {part}: {one['s']:.1f} s, {one['mb']:,.0f} MB")
        print(f"the session (test and five training runs), ours: {session['s']:.1f} s, {session['mb']:,.0f} MB")
        print(
            f"ours is {found['obvious']['s'] / found['ours']['s']:.2f} x as fast as MNE's epochs without whitening, "
            f"and takes {found['ours']['s'] / found['least']['s']:.2f} x the least; four more runs take "
            f"{session['mb'] - found['ours']['mb']:+,.0f} MB"
        )


if __name__ == "__main__":
    child(*sys.argv[1:]) if len(sys.argv) > 1 else main()
