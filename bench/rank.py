"""Many small jobs: the ranking of several models of one subject, in a Python each and in one loaded Python.

``python bench/rank.py`` (two minutes). Random responses of THINGS-EEG2's size (200 test pictures, 80 repetitions, 17
channels, 1 s at 250 Hz), models of one epoch. Nothing of yours is touched: all lies in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

from brain2clip import artefact, preloaded, settings, stage  # noqa: E402
from brain2clip.fingerprint import fingerprint  # noqa: E402
from brain2clip.training import train  # noqa: E402

TRAINED, TESTED, REPEATED = 256, 200, 80
CHANNELS, TIMES, SFREQ = 17, 250, 250.0
MADE = artefact.Provenance("bench", {}, "code")
METHODS = ("frozen", "frozen-tsconv", "ridge")
RANK = "brain2clip.retrieval.rank"


def write_stimuli(path: Path) -> None:
    """Embeddings of as many pictures as the test and a small training have."""
    n = TRAINED + TESTED
    ids = [f"picture-{number:04d}" for number in range(n)]
    with artefact.create_h5(path, MADE) as file:
        file.attrs.update(kind="pictures", cache="none")
        file["stimulus_id"], file["concept"] = ids, ids
        file["split"] = ["train"] * TRAINED + ["test"] * TESTED
        embedding = np.random.default_rng(0).standard_normal((n, 512), dtype=np.float32)
        file["embedding"] = file["sentence_embedding"] = embedding  # a prompt for each
        file["sentence"] = ids
        for kind in ("caption", "prompt"):
            file[f"{kind}_link"] = np.repeat(np.arange(n, dtype=np.int32)[:, None], 2, axis=1)
            file[f"{kind}_embedding"] = embedding


def write_responses(path: Path) -> None:
    """Each training picture once, each test picture 80 times."""
    rng = np.random.default_rng(1)
    stimulus = np.concatenate([np.arange(TRAINED), np.repeat(np.arange(TRAINED, TRAINED + TESTED), REPEATED)])
    some = rng.standard_normal((1000, CHANNELS, TIMES), dtype=np.float32).astype(np.float16)
    with artefact.create_h5(path, MADE) as file:
        file.attrs.update(sfreq=SFREQ, unit="standard deviation")
        file["response"] = np.resize(some, (len(stimulus), CHANNELS, TIMES))
        file["stimulus"] = stimulus.astype(np.int32)
        file["split"] = (stimulus >= TRAINED).astype(np.uint8)
        file["channel"] = [f"E{number}" for number in range(CHANNELS)]
        file["times"] = np.arange(TIMES) / SFREQ
        file["stimulus_id"] = [f"picture-{number:04d}" for number in range(TRAINED + TESTED)]
        file["session"] = file["run"] = ["01"] * len(stimulus)
        file["position"] = 0.1 * np.eye(CHANNELS)[:, :3] + 0.01


def models(folder: Path, count: int) -> list[list[str]]:
    """Commands that rank with models of some methods and seeds."""
    config = settings.load(yaml.safe_load((ROOT / "config.yaml").read_text()), "config.yaml")
    data = {"responses": [folder / "responses.h5"], "stimuli": [folder / "stimuli.h5"]}
    tower = config.towers["vit-b-32"].model_dump(mode="json")
    found = []
    for number in range(count):
        name, seed = METHODS[number % len(METHODS)], number // len(METHODS)
        method = config.methods[name].model_dump(mode="json")
        if "optimiser" in method:
            method["optimiser"].update(epochs=1, batch_size=128)
        outputs = {kind: folder / f"{name}-{seed}.{kind}" for kind in ("safetensors", "parquet")}
        made = {"checkpoint": outputs["safetensors"], "history": outputs["parquet"]}
        given = {"method": method, "tower": tower, "seed": seed, "protocol": {}}
        train.run(stage.Job("train", given, "code", {}, data, made))
        run = {"study": "s", "signal": "b", "protocol": "p", "method": name, "subject": "01", "seed": seed}
        asked = {**config.retrieval.model_dump(mode="json")}
        spec = {
            **{"stage": "rank", "format": artefact.FORMAT, "code": fingerprint(RANK), "modules": [RANK]},
            "settings": {"run": run, "method": method, "tower": tower, "retrieval": asked},
        }
        inputs = [*(f"{key}={paths[0]}" for key, paths in data.items()), f"checkpoint={made['checkpoint']}"]
        words = ["-m", RANK, "--spec", json.dumps(spec), "--input", *inputs, "--output"]
        found.append([*words, f"rows={folder / f'{name}-{seed}.rows.parquet'}"])
    return found


def alone(commands: list[list[str]]) -> list[float]:
    """Processor time (s) of a Python for each."""
    return [run([sys.executable, *one], environment()) for one in commands]


def together(commands: list[list[str]]) -> list[float]:
    """The same in one loaded Python, which counts what it loads with the job that needs it first."""
    given = environment()
    server = preloaded.start(ROOT / "src", given)
    assert server is not None
    client = [sys.executable, "-I", "-S", str(preloaded.CLIENT), given[preloaded.SOCKET]]
    process, found, before = psutil.Process(server.pid), [], 0.0
    for one in commands:
        own = run([*client, *one], given)
        after = sum(process.cpu_times()[:4])  # its own and that of the jobs that have ended
        found.append(own + after - before)
        before = after
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
    return found


def run(command: list[str], given: dict[str, str]) -> float:
    """Processor time (s) of a command, but for what others do for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=given)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=9, help="how many models of the subject")
    count = parser.parse_args().models
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_stimuli(folder / "stimuli.h5")
        write_responses(folder / "responses.h5")
        commands = models(folder, count)
        own, loaded = alone(commands), together(commands)
        print(f"ranking with {count} models of a subject, {TESTED} pictures, {REPEATED} repetitions; processor s each:")
        print(f"  {'':14} a Python each   one loaded Python   470 models (hours)")
        rows = [(method, range(number, count, len(METHODS))) for number, method in enumerate(METHODS)]
        for name, numbers in (*rows, ("all", range(count))):
            each, forked = (sum(used[number] for number in numbers) / len(numbers) for used in (own, loaded))
            print(f"  {name:14} {each:13.2f}   {forked:17.2f}   {470 * each / 3600:7.2f} {470 * forked / 3600:7.2f}")


if __name__ == "__main__":
    main()
