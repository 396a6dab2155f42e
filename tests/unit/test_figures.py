"""Every figure is drawn from synthetic artefacts by the stage itself, without a warning, to well-formed SVG."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from brain2clip import artefact, kinds, sealing, stage
from brain2clip.reporting import accuracy, blocks, figure_base, figures, style, thumbnails
from brain2clip.reporting.accuracy import by_region
from brain2clip.reporting.figure_kinds import (
    confusion,
    erp,
    gains,
    gallery,
    pictures,
    place,
    prompts,
    ranks,
    subjects,
    timecourse,
    where,
)
from brain2clip.retrieval import similarities, statistics
from brain2clip.retrieval.bank import nearest

METHODS = {"neuroclip": "NeuroCLIP", "frozen": "Frozen CLIP", "ridge": "Ridge"}
#: Labels that figures of one method are given.
SHOWN = {
    **{
        name: {"neuroclip": "NeuroCLIP"}
        for name in (*("gallery", "gains", "prompts", "place", "where", "pictures", "confusion"),)
    },
    "reconstruction": {"mapping": "Mapping"},
    "generation": {"mapping": "Mapping"},
}
#: Methods that get other parts of the responses.
PANELS = {
    "curve": {
        "over": ["repetitions"],
        "methods": {
            "neuroclip": {"series": "CLIP", "at": [1]},
            "frozen": {"series": "CLIP", "at": [None]},
            "ridge": {"series": "Ridge", "at": None},
        },
    }
}
#: Protocols with a number of sessions.
SESSIONS = {
    "intra-subject": {"kind": "new-subject", "sessions": 1},
    "loso": {"kind": "new-subject", "sessions": "all"},
}
#: Of an epoch of the first seed.
SECONDS = {"neuroclip": 4.0, "frozen": 0.25, "ridge": 0.0}
N_CANDIDATES = 50
N_TRAINING = 30
WIDTH = 12
IDS = [f"picture-{number:03d}" for number in range(N_CANDIDATES)]
ALL_IDS = [*(f"training-{number:03d}" for number in range(N_TRAINING)), *IDS]
REGIONS = ["V1", "V2", "V3", "V4", "LOC", "FFA", "PPA"]
BOOTSTRAP = {"bootstrap": 200, "level": 0.95, "seed": 0}

#: Right and front of each electrode on the unit sphere.
PLACES = {
    **{"Fz": (0, 0.7), "C3": (-0.7, 0), "Cz": (0, 0), "C4": (0.7, 0), "P7": (-0.8, -0.58), "P3": (-0.5, -0.6)},
    **{"Pz": (0, -0.7), "P4": (0.5, -0.6), "P8": (0.8, -0.58), "PO7": (-0.58, -0.8), "PO8": (0.58, -0.8)},
    **{"O1": (-0.3, -0.94), "Oz": (0, -0.99), "O2": (0.3, -0.94)},
}


def made(stage_name: str) -> artefact.Provenance:
    return artefact.Provenance(stage_name, {}, "code")


def write_responses(
    path: Path, seed: int, known: bool = True, change: Callable[[h5py.File], None] | None = None
) -> None:
    names = list(PLACES)
    flat = np.array(list(PLACES.values()))
    position = 0.095 * np.column_stack([flat, np.sqrt(1 - (flat**2).sum(axis=1))])
    rng = np.random.default_rng(seed)
    times = np.arange(-0.2, 0.8, 0.01)
    back = np.clip(-position[:, 1] / 0.08, -0.3, 1)[:, None]
    erp = 4e-6 * back * np.exp(-(((times - 0.17) / 0.04) ** 2)) + 3e-7 * rng.standard_normal((len(names), len(times)))
    freqs = np.arange(0, 125, 0.5)
    stimulus = np.repeat(np.arange(20), 4)
    answers = np.exp(-(((times - 0.2) / 0.08) ** 2)) * back * rng.standard_normal((20, 1, 1))
    response = answers[stimulus] + 0.5 * rng.standard_normal((len(stimulus), len(names), len(times)))
    psd = 1e-11 / (1 + freqs) + 2e-12 * np.exp(-(((freqs - 10) / 1.5) ** 2)) + 1e-15
    with artefact.create_h5(path, made("epochs"), unknown={"position"}) as file:
        file["channel"] = names
        file["channel_type"] = ["eeg"] * len(names)
        file["times"] = times
        file["position"] = position if known else np.full_like(position, np.nan)
        file["response"], file["stimulus"] = response.astype(np.float32), stimulus.astype(np.int32)
        file["split"] = (stimulus >= 15).astype(np.uint8)
        file["session"] = ["01", "02"] * (len(stimulus) // 2)
        file["quality/erp"] = erp
        file["quality/freqs"] = freqs
        file["quality/psd"] = psd * rng.uniform(0.5, 2, (len(names), 1))
        if change is not None:
            change(file)


def write_stimuli(path: Path, pictures: Path | None) -> None:
    from PIL import Image

    images = [""] * len(ALL_IDS)
    if pictures is not None:
        pictures.mkdir(exist_ok=True)
        for number, name in enumerate(ALL_IDS):
            pixels = np.zeros((60, 60, 3), np.uint8)
            pixels[..., number % 3] = 3 * number
            pixels[10:50, 10 + number % 20 : 40] = 255 - 3 * number
            Image.fromarray(pixels).save(pictures / f"{name}.png")
            images[number] = str(pictures / f"{name}.png")
    frequency = np.linspace(0, 1, 64)
    edges = np.clip((np.log2(np.maximum(frequency, 1e-3) / 0.1) + 0.5), 0, 3)
    window = np.stack([np.clip(1 - np.abs(edges - band), 0, 1) for band in range(4)])
    with artefact.create_h5(path, made("features")) as file:
        file["stimulus_id"] = ALL_IDS
        file["image"] = images
        concepts = [number // 4 if number < N_TRAINING else number for number in range(len(ALL_IDS))]
        file["split"] = ["train"] * N_TRAINING + ["test"] * N_CANDIDATES
        file["concept"] = [f"concept {number}" for number in concepts]
        file["caption"] = [f"a photo of a striped red thing number {number}" for number in range(len(ALL_IDS))]
        file["embedding"] = embeddings(pictures is None, concepts)
        file["band_window"], file["band_frequency"] = window, frequency
        file.attrs["kind"] = "prompts" if pictures is None else "pictures"


def embeddings(of_classes: bool, concepts: list[int]) -> np.ndarray:
    """Of every stimulus; equal within a class where a study has class prompts only."""
    values = np.random.default_rng(2).standard_normal((len(ALL_IDS), WIDTH)).astype(np.float32)
    return values[concepts] if of_classes else values


#: Numbers of a place of the grid of the figures ``held`` and ``where``, whose rows are 2.
OF_PLACE = 3


def write_drives(folder: Path) -> dict[str, list[Path]]:
    """A grid of every picture, and drives: low is in the grid, mid half in the embedding, semantic in neither."""
    rng = np.random.default_rng(7)
    grid = rng.standard_normal((len(ALL_IDS), 4 * OF_PLACE)).astype(np.float16)
    path = folder / "vectors" / "stimuli" / "picture_block-2_grid-2.h5"
    with artefact.create_h5(path, made("vectors")) as file:
        file["stimulus_id"], file["vector"] = ALL_IDS, grid
        file.attrs["name"] = path.stem
    mid = embeddings(False, list(range(len(ALL_IDS)))) @ rng.standard_normal((WIDTH, 3))
    drives = {
        "low": grid.astype(np.float64) @ rng.standard_normal((4 * OF_PLACE, 5)),
        "mid": np.concatenate([mid, mid.std() * rng.standard_normal(mid.shape)], axis=1),
        "semantic": rng.standard_normal((len(ALL_IDS), 2)),
    }
    order = rng.permutation(len(ALL_IDS))  # rows are found by id
    with artefact.create_h5(folder / "truth.h5", made("simulate_pictures")) as file:
        file["stimulus_id"] = [ALL_IDS[row] for row in order]
        for level, values in drives.items():
            file[level] = values[order]
    return {"vectors": [path], "truth": [folder / "truth.h5"]}


def write_heads(folder: Path) -> list[Path]:
    """Checkpoints of two models whose head weighs a grid of 2 x 2 behind an embedding."""
    rng = np.random.default_rng(8)
    paths = []
    for subject in ("01", "02"):
        tensors = {
            "visual.readout.parts.0.mean": torch.zeros(WIDTH),
            "visual.readout.parts.1.mean": torch.zeros(4 * OF_PLACE),
            "visual.readout.parts.1.basis": torch.from_numpy(rng.standard_normal((4 * OF_PLACE, 5))),
            "visual.readout.parts.1.scale": torch.tensor(0.3),
            "visual.head.weight": torch.from_numpy(rng.standard_normal((6, WIDTH + 5))),
        }
        path = folder / "training" / "simulated" / "broad" / "intra" / "neuroclip" / f"sub-{subject}_seed-0.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        artefact.write_tensors(path, tensors, made("train"))
        paths.append(path)
    return paths


def write_embeddings(path: Path, noise: float) -> None:
    rng = np.random.default_rng(4)
    own = embeddings(False, [])[N_TRAINING:]
    centre = np.full(WIDTH, 0.05, np.float32)
    seen = own / np.linalg.norm(own, axis=1, keepdims=True) - centre + noise * rng.standard_normal(own.shape)
    with artefact.create_h5(path, made("embed")) as file:
        file["predicted"] = seen / np.linalg.norm(seen, axis=1, keepdims=True)
        file["centre"], file["stimulus_id"] = centre, IDS
        run = {"study": "voxels", "signal": "VC", "protocol": "joint", "method": "mapping", "subject": "01", "seed": 0}
        file.attrs.update(run)


#: Side and samples of generated pictures.
N_PIXELS, N_SAMPLES = 24, 3


def write_generated(folder: Path) -> dict[str, list[Path]]:
    """Pictures whose red tells the stimulus and whose green the sample; those of the oracle in another order."""
    run = {"study": "voxels", "signal": "VC", "protocol": "joint", "method": "mapping", "subject": "01", "seed": 0}
    for name, order in (("generated", np.arange(N_CANDIDATES)), ("oracle", np.arange(N_CANDIDATES)[::-1])):
        pixels = np.zeros((N_CANDIDATES, N_SAMPLES, N_PIXELS, N_PIXELS, 3), np.uint8)
        pixels[..., 0] = 5 * order[:, None, None, None]
        pixels[..., 1] = 60 * np.arange(N_SAMPLES)[None, :, None, None]
        pixels[..., 2] = 200 * (name == "oracle")
        with artefact.create_h5(folder / f"{name}.h5", made("generate")) as file:
            file["picture"], file["stimulus_id"] = pixels, [IDS[number] for number in order]
            if name == "generated":
                file["start"] = ALL_IDS[:N_CANDIDATES][::-1]
            file.attrs.update({**run, "generator": "grammar"})
    near = [ALL_IDS[number % N_TRAINING] for number in range(N_CANDIDATES)]
    judged = pd.DataFrame({"source": "nearest", "stimulus_id": IDS, "picture": near, "metric": "ssim"})
    judged = pd.concat([judged.assign(source="generated", picture=""), judged])
    artefact.write_table(folder / "judged.parquet", judged, made("judge"))
    return {name: [folder / f"{name}.h5"] for name in ("generated", "oracle")} | {"judged": [folder / "judged.parquet"]}


def region_rows(method: str, subject: str, regions: list[str] = REGIONS) -> pd.DataFrame:
    """Rows of a voxel study whose later regions know more, for two tasks, in pools as well."""
    parts = []
    for number, region in enumerate(regions):
        one = retrieval_rows("voxels", "intra", method, subject, 0, 0.5 * number).assign(signal=region)
        pooled = one.iloc[::3].assign(pool=1, n_candidates=17, rank=1)
        parts += [one, one.assign(task="category", classes=True), one.assign(task="stimulus-to-brain", rank=1), pooled]
    return pd.concat(parts, ignore_index=True)


def window_rows(subject: str, classes: bool = False) -> pd.DataFrame:
    """Rows of windows of 50 ms, of which the third knows more."""
    parts = []
    for number in range(5):
        one = retrieval_rows("simulated", "windows", "ridge", subject, number, 3.0 * (number == 2)).assign(seed=0)
        one = one.drop(columns=["top_ids", "top_similarities"]).assign(start=0.025 * number, end=0.025 * number + 0.05)
        parts.append(one.assign(classes=True, repetitions="1") if classes else one)
    return pd.concat(parts, ignore_index=True)


def retrieval_rows(study: str, protocol: str, method: str, subject: str, seed: int, strength: float) -> pd.DataFrame:
    rng = np.random.default_rng([seed, int(subject), len(method)])
    similarity = rng.standard_normal((N_CANDIDATES, N_CANDIDATES)) + strength * np.eye(N_CANDIDATES)
    indices, values = similarities.best(similarity)
    return pd.DataFrame(
        {
            **{"study": study, "signal": "broad", "protocol": protocol, "method": method},
            **{"subject": subject, "seed": seed, "repetitions": "all", "query": np.arange(N_CANDIDATES), "target": IDS},
            **{"n_candidates": N_CANDIDATES, "rank": similarities.ranks(similarity, np.arange(N_CANDIDATES))},
            "similarity": np.diag(similarity),
            "margin": similarities.margins(similarity, np.arange(N_CANDIDATES)),
            "top_ids": [[IDS[index] for index in row] for row in indices],
            "top_similarities": list(values),
            **{"task": "stimulus", "pool": 0, "classes": False},
        }
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("results")
    found: dict[str, list[Path]] = {name: [] for name in ("responses", "rows", "history", "gains", "prompts")}
    for band in ("broad", "alpha"):
        for subject in ("01", "02"):
            path = folder / "responses" / "simulated" / band / f"sub-{subject}.h5"
            write_responses(path, int(subject))
            found["responses"].append(path)
    rng = np.random.default_rng(1)
    for number, method in enumerate(METHODS):
        for protocol, subject, seed in [("intra-subject", "01", 0), ("intra-subject", "02", 1), ("loso", "01", 0)]:
            run = Path("simulated") / "broad" / protocol / method / f"sub-{subject}_seed-{seed}.parquet"
            rows = retrieval_rows("simulated", protocol, method, subject, seed, 3.0 - number)
            epochs = np.arange(1, 41) if method != "ridge" else np.arange(0)
            loss = 5 - 3 * (1 - np.exp(-epochs / (8 + 4 * number))) + 0.1 * rng.standard_normal(len(epochs))
            history = pd.DataFrame({"epoch": epochs, "loss": loss, "held_out_top1": np.nan})
            history["perplexity"] = 9 - epochs / 10 if method == "neuroclip" else np.nan
            history = history.assign(seconds=SECONDS[method] + 0.5 * seed, cpu_seconds=1.0, device="cpu")
            path = folder / "retrieval" / run
            artefact.write_table(path, rows, made("rank"))
            found["rows"].append(path)
            path = (folder / "training" / run).with_suffix(".history.parquet")
            artefact.write_table(path, history, made("train"), unknown={"held_out_top1", "perplexity"})
            found["history"].append(path)
    names = {"method": "neuroclip", "subject": "01", "seed": 0}
    gain = np.clip(1 + np.outer(rng.standard_normal(50), [0.1, 0.2, 0.3, 0.2]) + [0.4, 0.2, -0.2, -0.5], 0, 2)
    gains = pd.DataFrame(
        {"stimulus_id": np.repeat(IDS, 4), "band_index": np.tile(np.arange(4), 50), "gain": gain.ravel()}
    )
    before = rng.normal(0.3, 0.1, 50)
    effect = {"cosine_before": before, "cosine_after": before + rng.normal(0.08, 0.05, 50)}
    prompts = pd.DataFrame({"stimulus_id": IDS, **effect, "token_shift": rng.gamma(4, 0.02, 50)})
    for name, table in (("gains", gains), ("prompts", prompts)):
        path = folder / f"{name}.parquet"
        artefact.write_table(path, table.assign(**names), made("explain"))
        found[name].append(path)
    write_stimuli(folder / "stimuli.h5", folder / "pictures")
    write_stimuli(folder / "prompts.h5", None)
    write_embeddings(folder / "embeddings.h5", 0.2)
    for method in ("neuroclip", "ridge"):
        for subject in ("01", "02"):
            path = folder / f"{method}-{subject}.parquet"
            artefact.write_table(path, region_rows(method, subject), made("rank"))
    found["windows"] = [folder / f"windows-{subject}.parquet" for subject in ("01", "02", "03")]
    for path, subject in zip(found["windows"], ("01", "02", "03")):
        artefact.write_table(path, window_rows(subject), made("timecourse"))
    found |= {**write_drives(folder), "checkpoint": write_heads(folder), **write_generated(folder)}
    return {**found, "stimuli": [folder / "stimuli.h5"], "embeddings": [folder / "embeddings.h5"]}


def of_figure(name: str, inputs: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Inputs of a figure: regions and place show the rows of a voxel study, timecourse those of windows."""
    folder = inputs["stimuli"][0].parent
    methods = {"regions": ("neuroclip", "ridge"), "place": ("neuroclip",)}.get(name)
    if name == "timecourse":
        return {"rows": inputs["windows"]}
    if name == "generalisation":
        paths = [folder / f"generalisation-{path.name}" for path in inputs["windows"]]
        for path, plain in zip(paths, inputs["windows"]):
            rows = artefact.read_table(plain)
            every = pd.concat([rows.assign(test_start=start) for start in rows["start"].unique()], ignore_index=True)
            artefact.write_table(path, every, made("timecourse"))
        return {"rows": paths}
    if methods is None:
        return inputs
    paths = [folder / f"{method}-{subject}.parquet" for method in methods for subject in ("01", "02")]
    return {**inputs, "rows": paths, "responses": inputs["responses"][:2]}


def job(
    name: str, inputs: dict[str, list[Path]], path: Path | None = None, methods: dict[str, str] = METHODS
) -> stage.Job:
    given = {"figure": name, "topography_times": [0.1, 0.17, 0.3], "retrieval": BOOTSTRAP, "rois": REGIONS}
    given |= {"study": "simulated", "parts": {"neuroclip": [1, 2]}, "panels": PANELS, "generator": "grammar"}
    given |= {"sessions": SESSIONS}
    outputs = {} if path is None else {"figure": path}
    return stage.Job("figures", {**given, "methods": methods}, "code", {}, inputs, outputs)


def drawn(name: str, inputs: dict[str, list[Path]], methods: dict[str, str] = METHODS) -> Figure:
    with style.applied():
        return kinds.load("figures", name).draw(job(name, inputs, methods=methods))


def cut_texts(made: Figure) -> list[str]:
    """Texts of a figure, ticks left out, that reach over its edge."""
    with style.applied():
        made.draw_without_rendering()
    ticks = {text for axis in made.axes for text in (*axis.get_xticklabels(), *axis.get_yticklabels())}
    ticks |= {text for axis in made.axes for side in (axis.xaxis, axis.yaxis) for text in side.get_minorticklabels()}
    texts = [
        text for text in made.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in ticks
    ]
    edge = made.bbox
    assert texts
    return [
        text.get_text()
        for text, box in ((text, text.get_window_extent()) for text in texts)
        if min(box.x0 - edge.x0, box.y0 - edge.y0, edge.x1 - box.x1, edge.y1 - box.y1) < -1
    ]


@pytest.mark.parametrize("name", kinds.shipped("figures"))
def test_no_text_is_cut(name: str, inputs: dict[str, list[Path]]) -> None:
    made = drawn(name, of_figure(name, inputs), SHOWN.get(name, METHODS))
    assert cut_texts(made) == []


def test_a_title_fits_whatever_it_says() -> None:
    """All figures give their titles by ``style.title``."""
    for width in (4.0, 12.0):
        made = style.figure(width, 3.0)
        made.subplots()
        style.title(made, "mean of 3 subjects, 95 % CI (t over subjects; bootstrap where all are equal; exact) " * 3)
        assert cut_texts(made) == []
        style.label(made, "debug")
        assert cut_texts(made) == []
    rooms = Path(style.__file__).parent.rglob("*.py")
    assert [path.name for path in rooms if "suptitle(" in path.read_text(encoding="utf-8")] == ["style.py"]


@pytest.mark.parametrize("name", kinds.shipped("figures"))
def test_figure_renders_without_warning(name: str, inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    path = tmp_path / f"{name}.svg"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        figures.run(job(name, of_figure(name, inputs), path, SHOWN.get(name, METHODS)))
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    assert path.stat().st_size < 3_000_000
    assert "brain2clip" in path.read_text() or '"stage":"figures"' in path.read_text()


@pytest.mark.parametrize("name", ["ranks", "training", "regions", "gallery", "prompts"])
def test_labels_are_text_and_no_formula(name: str, inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    label = "$x_$ {brace} \\frac $a^ 5 & <b> % #"
    made = drawn(name, inputs, dict.fromkeys(METHODS, label))
    with style.applied():
        style.save(made, tmp_path / "figure.svg")
    shown = {text.get_text() for text in made.findobj(Text)}
    assert any("$x_$ {brace} \\frac $a^ 5 & <b> % #" in one for one in shown)


@pytest.mark.parametrize(("label", "shown"), [("_a\n b", " _a b"), ("a_b", "a_b"), (" x ", "x")])
def test_a_label_with_an_underscore_in_front_stands_in_legends(label: str, shown: str) -> None:
    axis = style.figure(3, 2).add_subplot()
    axis.plot([0, 1], label=figure_base.plain(label))
    assert axis.get_legend_handles_labels()[1] == [shown]


def test_same_data_give_the_same_bytes(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    paths = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in paths:
        figures.run(job("ranks", inputs, path))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_gallery_of_text_candidates(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    text = {**inputs, "stimuli": [inputs["stimuli"][0].with_name("prompts.h5")]}
    figures.run(job("gallery", text, tmp_path / "gallery.svg", SHOWN["gallery"]))
    assert (tmp_path / "gallery.svg").is_file()


def test_erp_without_positions_says_so(tmp_path: Path) -> None:
    path = tmp_path / "responses" / "mine" / "broad" / "sub-01.h5"
    write_responses(path, 1, known=False)
    made = drawn("erp", {"responses": [path]})
    words = [text.get_text() for panel in made.subfigs for axis in panel.axes for text in axis.texts]
    assert any("channel positions are unknown" in text for text in words)


def meg(folder: Path, **units: str) -> Path:
    """Eight magnetometers and six planar gradiometers in T and T/m, two of which lie at one place."""

    def change(file: h5py.File) -> None:
        file["channel_type"][...] = ["mag"] * 8 + ["grad"] * 6
        file["quality/erp"][:8] *= 1e-7  # 4 uV become 400 fT
        file["quality/erp"][8:] *= 1e-6
        file["quality/psd"][:8] *= 1e-14
        file["position"][13] = file["position"][12]
        for name, unit in units.items():
            file[f"quality/{name}"].attrs["unit"] = unit

    path = folder / "responses" / "mine" / "broad" / "sub-01.h5"
    write_responses(path, 1, change=change)
    return path


def test_fields_are_drawn_by_type_of_sensor_in_their_units(tmp_path: Path) -> None:
    path = meg(tmp_path)
    made = drawn("erp", {"responses": [path]})
    curves = [axis for panel in made.subfigs for axis in panel.axes if axis.get_xlabel()]
    assert [axis.get_ylabel() for axis in curves] == ["magnetic field (fT)", "field gradient (fT/cm)"]
    assert "8 mag sensors, mean over 1 subject" in titles(curves[0])
    assert "6 grad sensors, mean over 1 subject" in titles(curves[1])
    assert 100 < max(np.abs(line.get_ydata()).max() for line in curves[0].lines[:8]) < 1000
    bars = [axis.get_ylabel() for panel in made.subfigs for axis in panel.axes if not axis.get_xlabel()]
    assert {"magnetic field (fT)", "pairs: field gradient (fT/cm)"} <= set(bars)


def titles(axis: Any) -> str:
    return " ".join(axis.get_title(loc=place) for place in ("left", "center", "right"))


def test_scaled_fields_are_drawn_as_they_are(tmp_path: Path) -> None:
    path = meg(tmp_path, erp="baseline standard deviation")
    made = drawn("erp", {"responses": [path]})
    labels = {axis.get_ylabel() for panel in made.subfigs for axis in panel.axes if axis.get_xlabel()}
    assert labels == {"response (baseline standard deviations)"}


def test_spectra_of_meg_have_a_line_for_each_type(tmp_path: Path) -> None:
    path = meg(tmp_path)
    (axis,) = drawn("spectra", {"responses": [path]}).axes
    assert [line.get_label() for line in axis.lines] == ["mine, broad, mag", "mine, broad, grad"]
    assert axis.get_ylabel() == "power spectral density (dB re 1 (fT/cm)²/Hz or 1 fT²/Hz)"
    with h5py.File(path) as file:
        expected = 10 * np.log10(np.nanmean(file["quality/psd"][:8], axis=0)[1:] * 1e30)
    np.testing.assert_allclose(axis.lines[0].get_ydata(), expected, rtol=1e-6)


def test_pairs_of_gradiometers_are_their_root_mean_square() -> None:
    place = np.array([[0.0, 0.1, 0.0], [0.0, 0.1, 0.0002], [0.1, 0.0, 0.0]])
    names, position, values, paired = erp._in_places(["a", "b", "c"], place, np.array([[3.0], [4.0], [-2.0]]))
    assert paired
    assert dict(zip(names, values[:, 0])) == {"a": pytest.approx(np.sqrt(12.5)), "c": 2.0}
    assert len(position) == 2


def test_the_sphere_of_a_helmet_is_fitted() -> None:
    turn = np.linspace(0, 6, 40)
    around = np.stack([np.cos(turn), np.sin(turn), np.cos(3 * turn)], axis=1)
    sensors = 0.11 * around / np.linalg.norm(around, axis=1, keepdims=True) + [0.0, 0.01, 0.05]
    np.testing.assert_allclose(erp._fitted_sphere(sensors), (0.0, 0.01, 0.05, 0.11), atol=1e-6)


def test_unknown_figure_and_missing_input_are_named(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(stage.InputError, match="unknown kind 'raincloud' in figures"):
        figures.run(job("raincloud", inputs, tmp_path / "x.svg"))
    with pytest.raises(stage.InputError, match="--input rows=PATH"):
        figures.run(job("ranks", {**inputs, "rows": []}, tmp_path / "x.svg"))


def test_figures_of_single_runs_show_the_method_that_the_settings_name(inputs: dict[str, list[Path]]) -> None:
    for method, label in METHODS.items():
        assert drawn("gallery", inputs, {method: label}).get_suptitle().startswith(f"{label}: ")
    with pytest.raises(stage.InputError, match="has no row of other; found frozen, neuroclip, ridge"):
        drawn("gallery", inputs, {"other": "Other"})


def test_prompts_without_a_frozen_readout() -> None:
    table = pd.DataFrame({"stimulus_id": IDS, "cosine_before": np.nan, "cosine_after": 0.4, "token_shift": 0.0})
    with style.applied():
        made = prompts.figure_prompts(table, "no readout")
    assert "no embedding without prompts" in made.axes[0].texts[0].get_text()


def test_rank_bins_sum_to_one_and_chance_counts_candidates() -> None:
    np.testing.assert_allclose(ranks.binned(np.arange(1, 11), 10), [0.1, 0.1, 0.2, 0.4, 0.2])
    assert ranks.binned([1, 1, 2, 4], 4).tolist() == [0.5, 0.25, 0.25]


def test_gain_curve_is_the_weighted_sum_of_windows() -> None:
    window = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    table = pd.DataFrame({"stimulus_id": ["a", "a"], "band_index": [1, 0], "gain": [2.0, 1.0]})
    np.testing.assert_allclose(gains.gain_curves(table, window), [[1.0, 1.5, 2.0]])


def test_generated_pictures_stand_beside_what_was_seen(inputs: dict[str, list[Path]]) -> None:
    """Rows are evenly spaced stimuli, whatever order the files have; every sample, nearest and oracle in its column."""
    made = drawn("generation", inputs, SHOWN["generation"])
    shown = thumbnails.evenly_spaced(N_CANDIDATES)
    axes = np.array(made.axes).reshape(len(shown), -1)
    heads = [axis.get_title() for axis in axes[0]]
    assert heads == ["seen", "start", "generated 1", "generated 2", "generated 3", "nearest", "oracle"]
    draw = thumbnails.drawing(thumbnails.candidates_of(job("generation", inputs)))
    axis = style.figure(2, 2).add_subplot()

    def of_study(name: str) -> np.ndarray:
        draw(axis, name)
        return axis.images[-1].get_array()

    for line, number in zip(axes, shown):
        pixels = [one.images[0].get_array() for one in line]
        assert [one[0, 0].tolist() for one in pixels[2:5]] == [[5 * number, 60 * sample, 0] for sample in range(3)]
        assert pixels[6][0, 0].tolist() == [5 * number, 0, 200]
        start = ALL_IDS[:N_CANDIDATES][::-1][number]
        for found, name in zip((*pixels[:2], pixels[5]), (IDS[number], start, ALL_IDS[number % N_TRAINING])):
            np.testing.assert_array_equal(found, of_study(name))
    assert "never chosen by result" in " ".join(made.get_suptitle().split())


def test_gallery_queries_do_not_depend_on_results(inputs: dict[str, list[Path]]) -> None:
    rows = artefact.read_table(inputs["rows"][0])
    shuffled = rows.assign(rank=rows["rank"].to_numpy()[::-1]).sample(frac=1, random_state=0)
    assert gallery.chosen(rows)["query"].tolist() == gallery.chosen(shuffled)["query"].tolist()


def test_run_names_come_from_the_path() -> None:
    path = Path("results/training/simulated/broad/intra-subject/neuroclip/sub-01_seed-2.history.parquet")
    assert blocks.from_run_path(path) == {
        **{"study": "simulated", "signal": "broad", "protocol": "intra-subject"},
        **{"method": "neuroclip", "subject": "01", "seed": 2},
    }
    with pytest.raises(ValueError, match="expected STUDY"):
        blocks.from_run_path(Path("history.parquet"))


# ------------------------------------------------------------------------------- reconstruction, regions, place


def test_bank_leaves_out_the_seen_one_and_ranks_it() -> None:
    """Against the obvious: cosine of centred vectors by scipy."""
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    bank, centre = 3 * rng.standard_normal((20, 6)), 0.1 * rng.standard_normal(6)
    seen = np.array([3, 7, 7, 19])
    predicted = rng.standard_normal((4, 6))
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    found = nearest(predicted, bank, centre, seen, 5)
    distance = cdist(predicted, bank / np.linalg.norm(bank, axis=1, keepdims=True) - centre, "cosine")
    for own, rows, rank, line in zip(seen, found.rows, found.rank, distance, strict=True):
        order = np.argsort(line).tolist()
        assert rank == order.index(own) + 1
        assert rows.tolist() == [row for row in order if row != own][:5]


def test_reconstruction_takes_embeddings_and_stimuli_only(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    given = {name: inputs[name] for name in ("embeddings", "stimuli")}
    made = drawn("reconstruction", given, SHOWN["reconstruction"])
    ranked = [axis.get_ylabel() for axis in made.axes if axis.get_ylabel()]
    assert ranked == ["rank 1"] * 8
    assert "bank of 80 training and test stimuli" in " ".join(made.get_suptitle().split())


def test_classes_without_pictures_are_shown_once(inputs: dict[str, list[Path]]) -> None:
    given = {**inputs, "stimuli": [inputs["stimuli"][0].with_name("prompts.h5")]}
    assert (
        "bank of 58" in drawn("reconstruction", given, SHOWN["reconstruction"]).get_suptitle()
    )  # 8 training and 50 test classes


def test_regions_show_the_numbers_of_the_tables() -> None:
    rows = pd.concat([region_rows("ridge", subject) for subject in ("01", "02")])
    found = by_region(rows, BOOTSTRAP).set_index(["task", "signal"])
    assert set(found.index.get_level_values("task")) == {"stimulus", "category"}
    one = rows[(rows["signal"] == "FFA") & (rows["task"] == "category")]
    expected = statistics.mean_over_subjects(one, "category:balanced-accuracy", 200)
    assert expected["decides"] == "t", "two subjects"
    for name, own in (("value", "value"), ("low", "t_low"), ("high", "t_high"), ("chance", "chance")):
        assert found.loc[("category", "FFA"), name] == expected[own]
    # Many classes with equally many queries: the same number as Top-1, and called as in the tables.
    assert found.loc[("category", "FFA"), "metric"] == "category:top-1"
    unequal = rows[(rows["task"] != "category") | (rows["query"] % 3 > 0) | (rows["subject"] == "01")]
    apart = by_region(unequal, BOOTSTRAP).set_index(["task", "signal"])
    assert apart.loc[("category", "FFA"), "metric"] == "category:balanced-accuracy"
    assert found.loc[("stimulus", "FFA"), "metric"] == "top-1"
    whole = rows[(rows["signal"] == "FFA") & (rows["task"] == "stimulus") & (rows["pool"] == 0)]
    assert found.loc[("stimulus", "FFA"), "value"] == pytest.approx((whole["rank"] == 1).mean())


@pytest.mark.parametrize(
    ("n_subjects", "found", "words"),
    [
        (2, ["t", "t"], "mean of 2 subjects, 95 % CI (t over subjects)"),
        (2, ["t", "bootstrap"], "mean of 2 subjects, 95 % CI (t over subjects; bootstrap where all are equal)"),
        (2, ["bootstrap"], "mean of 2 subjects, 95 % CI (bootstrap where all are equal)"),
        (9, ["bootstrap", "exact"], "mean of 9 subjects, 95 % CI (bootstrap; exact where all or none are right)"),
        (1, ["bootstrap"], "mean of 1 subject, 95 % CI (bootstrap)"),
    ],
)
def test_titles_say_how_the_shown_intervals_were_made(n_subjects: int, found: list[str], words: str) -> None:
    points = pd.DataFrame({"n_subjects": n_subjects, "interval": found})
    given = stage.Job("figures", {"retrieval": {"level": 0.95}}, "code", {}, {}, {})
    assert accuracy.interval(given, points) == words


def test_cost_shows_accuracy_of_the_tables_against_mean_seconds_of_a_model(inputs: dict[str, list[Path]]) -> None:
    with style.applied():
        made = kinds.load("figures", "cost").draw(job("cost", inputs))
    panels = {axis.get_title(loc="left"): axis for axis in made.axes}
    assert list(panels) == [f"simulated, {one}, broad: seen stimulus, of 50" for one in ("intra-subject", "loso")]
    rows = pd.concat([artefact.read_table(path) for path in inputs["rows"]])
    # 40 epochs each; two models of intra-subject, of seeds 0 and 1; of ridge no time is known.
    wanted = {
        "intra-subject": {"NeuroCLIP": 40 * 4.25, "Frozen CLIP": 40 * 0.5},
        "loso": {"NeuroCLIP": 160, "Frozen CLIP": 10},
    }
    for title, axis in panels.items():
        protocol = title.split(", ")[1]
        assert axis.get_xscale() == "log"
        found = {one.get_label(): one.lines for one in axis.containers}
        assert set(found) == set(wanted[protocol])
        for label, (point, _, (bar,)) in found.items():
            method = next(name for name, one in METHODS.items() if one == label)
            own = rows[(rows["method"] == method) & (rows["protocol"] == protocol)]
            expected = statistics.mean_over_subjects(own, "top-1", 200)
            assert point.get_xdata().item() == pytest.approx(wanted[protocol][label])
            assert point.get_ydata().item() == pytest.approx(100 * expected["value"])
            ends = bar.get_segments()[0][:, 1]
            kind = expected["decides"]
            assert ends == pytest.approx([100 * expected[f"{kind}_low"], 100 * expected[f"{kind}_high"]])
        (chance,) = (line for line in axis.lines if line.get_label() == "chance")
        assert chance.get_ydata()[0] == pytest.approx(2.0)
        numbers = [text.get_text() for text in axis.get_xticklabels(which="both") if text.get_text()]
        assert {"10", "100"} <= set(numbers)
        assert not any("$" in text for text in numbers), "powers are no formulas here"
    assert "trained on cpu" in made.get_suptitle()


def test_training_shows_the_perplexity_of_those_with_a_soft_target(inputs: dict[str, list[Path]]) -> None:
    panels = [axis for axis in drawn("training", inputs).axes if axis.get_ylabel().startswith("perplexity")]
    assert [axis.get_title(loc="left") for axis in panels] == [
        "simulated, intra-subject, broad",
        "simulated, loso, broad",
    ]
    for axis in panels:
        (line,) = axis.lines
        assert line.get_label() == "NeuroCLIP"
        np.testing.assert_allclose(line.get_ydata(), 9 - np.arange(1, 41) / 10)


def test_held_shows_what_was_planted_and_finds_pictures_by_id(inputs: dict[str, list[Path]]) -> None:
    drawn_ = drawn("held", inputs, {})
    assert [axis.get_title(loc="left") for axis in drawn_.axes] == ["low (5)", "mid (6)", "semantic (2)"]
    names = [text.get_text() for text in drawn_.axes[0].get_yticklabels()]
    assert names == [f"embedding ({WIDTH})", f"picture, block 2, grid 2 ({4 * OF_PLACE})"]
    bars = [[bar.get_width() for bar in axis.patches] for axis in drawn_.axes]
    (low, mid, semantic) = bars
    assert low[0] < 0.2
    assert low[1] > 0.95
    assert 0.3 < mid[0] < 0.6  # three of six dimensions of equal variance
    assert max(mid[1], *semantic) < 0.2
    for axis, values in zip(drawn_.axes, bars, strict=True):
        assert [text.get_text() for text in axis.texts] == [f"{round(value, 2) + 0:.2f}" for value in values]
    assert "30 training pictures, R² on 50 test pictures" in drawn_.get_suptitle().replace("\n", " ")


def test_held_refuses_vectors_of_other_pictures(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    with artefact.create_h5(tmp_path / "truth.h5", made("simulate_pictures")) as file:
        file["stimulus_id"], file["low"] = ALL_IDS[1:], np.zeros((len(ALL_IDS) - 1, 2))
    with pytest.raises(stage.InputError, match=r"truth\.h5: has no training-000 \(1 stimuli in all\)"):
        drawn("held", {**inputs, "truth": [tmp_path / "truth.h5"]}, {})


@pytest.mark.parametrize("reduced", [True, False])
def test_where_is_the_norm_of_the_weights_that_go_to_a_place(reduced: bool) -> None:
    """Against the weights themselves, traced back number by number; one place of one row is planted."""
    rng = np.random.default_rng(0)
    grid, of_place, k = 3, 4, 7
    numbers = grid * grid * of_place
    basis = np.linalg.qr(rng.standard_normal((numbers, k)))[0] if reduced else np.eye(numbers)
    planted = np.zeros(numbers)
    planted[5 * of_place : 6 * of_place] = 10  # row 1, column 2
    weight = np.concatenate([rng.standard_normal((5, 8)), rng.standard_normal((5, basis.shape[1]))], axis=1)
    weight[0, 8:] += planted @ basis * (50 if reduced else 1)
    tensors = {
        "visual.readout.parts.0.basis": torch.zeros(20, 8),
        "visual.readout.parts.1.mean": torch.zeros(numbers),
        "visual.readout.parts.1.scale": torch.tensor(0.2),
        "visual.head.weight": torch.from_numpy(weight),
        **({"visual.readout.parts.1.basis": torch.from_numpy(basis)} if reduced else {}),
    }
    found = where.places(tensors, 1, grid)
    traced = (0.2 * weight[:, 8:] @ basis.T).reshape(5, grid, grid, of_place)
    expected = np.sqrt((traced**2).sum(axis=(0, 3)))
    np.testing.assert_allclose(found.trained, expected / np.sqrt((expected**2).mean()), rtol=1e-9)
    assert np.unravel_index(found.trained.argmax(), (grid, grid)) == (1, 2)
    alone = np.sqrt((basis.reshape(grid, grid, of_place, -1) ** 2).sum(axis=(2, 3)))
    np.testing.assert_allclose(found.start, alone / np.sqrt((alone**2).mean()), rtol=1e-9)
    assert (found.trained**2).mean() == pytest.approx(1)
    if not reduced:
        np.testing.assert_allclose(found.start, 1)


def test_where_shows_the_mean_over_models_beside_the_mean_training_picture(inputs: dict[str, list[Path]]) -> None:
    from PIL import Image

    made_ = drawn("where", inputs, SHOWN["where"])
    assert "mean over models of 2 subjects and 1 seed" in made_.get_suptitle()
    picture, start, trained = (axis.images[0].get_array() for axis in made_.axes[:3])
    folder = inputs["stimuli"][0].with_name("pictures")
    small = [
        Image.open(folder / f"training-{number:03d}.png").resize((1, 1), Image.Resampling.BOX)
        for number in range(N_TRAINING)
    ]
    np.testing.assert_allclose(
        picture.mean(axis=(0, 1)), np.mean([np.asarray(one)[0, 0] for one in small], axis=0) / 255, atol=0.01
    )
    one_by_one = [where.places(artefact.read_tensors(path), 1, 2) for path in inputs["checkpoint"]]
    np.testing.assert_allclose(trained, np.mean([one.trained for one in one_by_one], axis=0))
    np.testing.assert_allclose(start, np.mean([one.start for one in one_by_one], axis=0))
    titles = [axis.get_title(loc="left") for axis in made_.axes[:3]]
    assert titles == ["mean of 30 training pictures", "before training", "NeuroCLIP"]
    assert [text.get_text() for text in made_.axes[2].texts] == [f"{value:.2f}" for value in trained.ravel()]


def test_split_half_is_the_correlation_of_half_means() -> None:
    """Against numpy's corrcoef, with pictures of other numbers of presentations, in chunks."""
    rng = np.random.default_rng(1)
    stimulus = rng.permutation(np.repeat(np.arange(600), rng.integers(1, 6, 600)))
    rows = np.arange(len(stimulus)) * 2  # every second trial of the file
    response = rng.standard_normal((2 * len(stimulus), 2, 3)) + 5
    response[rows] += rng.standard_normal((600, 2, 3))[stimulus]
    found, n_pictures = place.split_half(response, rows, stimulus)
    halves: list[list[np.ndarray]] = [[], []]
    for one in range(600):
        trials = rows[stimulus == one]
        if len(trials) > 1:
            for half in (0, 1):
                halves[half].append(response[trials[half::2]].mean(axis=0))
    assert n_pictures == len(halves[0])
    first, second = np.array(halves[0]), np.array(halves[1])
    for channel, time in np.ndindex(2, 3):
        expected = np.corrcoef(first[:, channel, time], second[:, channel, time])[0, 1]
        assert found[channel, time] == pytest.approx(expected)


def test_reliability_reads_training_trials_only(tmp_path: Path) -> None:
    import h5py

    paths = [tmp_path / "r" / "eeg" / name / "sub-01.h5" for name in ("a", "b")]
    for path in paths:
        write_responses(path, 3)
    with h5py.File(paths[1], "r+") as file:
        test = np.flatnonzero(file["split"][:] == 1)
        file["response"][test[0] : test[-1] + 1] = 1e6
    sealing.seal_h5(paths[1])
    a, b = (place.reliability(job("place", {"responses": [path]})) for path in paths)
    np.testing.assert_array_equal(a.correlation, b.correlation)
    assert a.correlation.max() > 0.8
    assert a.n_pictures == 15


def test_pictures_shown_once_have_no_reliability(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "r" / "eeg" / "broad" / "sub-01.h5"
    write_responses(path, 3)
    with h5py.File(path, "r+") as file:
        file["stimulus"][:] = np.arange(len(file["stimulus"]))
    sealing.seal_h5(path)
    made = drawn("place", {**of_figure("place", inputs), "responses": [path]})
    assert "no training picture\nwas shown twice" in made.axes[0].texts[0].get_text()


def test_ranks_have_a_panel_per_task(inputs: dict[str, list[Path]]) -> None:
    path = of_figure("place", inputs)["rows"][:1]
    titles = [axis.get_title(loc="left") for axis in drawn("ranks", {"rows": path}).axes]
    assert len(titles) == 3 * len(REGIONS)
    assert titles[:2] == ["voxels, intra, V1: stimulus", "voxels, intra, V1: category"]


# ------------------------------------------------------------------ subjects, pictures, confusion, accuracy over time


def test_subjects_show_each_and_all_with_the_numbers_of_the_tables(inputs: dict[str, list[Path]]) -> None:
    made_ = drawn("subjects", inputs)
    titles = [axis.get_title(loc="left") for axis in made_.axes]
    assert titles == [f"simulated, {one}, broad: seen stimulus, of 50" for one in ("intra-subject", "loso")]
    axis = made_.axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["sub-01", "sub-02", "all"]
    rows = pd.concat([artefact.read_table(path) for path in inputs["rows"]])
    rows = rows[(rows["protocol"] == "intra-subject") & (rows["method"] == "frozen")]
    point, _, (bar,) = next(one for one in axis.containers if one.get_label() == "Frozen CLIP").lines
    own = [rows[rows["subject"] == subject] for subject in ("01", "02")]
    expected = [statistics.mean_over_subjects(part, "top-1", 200) for part in (*own, rows)]
    assert point.get_ydata() == pytest.approx([100 * one["value"] for one in expected])
    assert [one["decides"] for one in expected] == ["ci", "ci", "t"]
    for ends, one in zip(bar.get_segments(), expected, strict=True):
        low, high = (100 * one[f"{one['decides']}_{end}"] for end in ("low", "high"))
        assert ends[:, 1] == pytest.approx([low, high])


def test_many_subjects_go_on_in_further_panels() -> None:
    names = [f"sub-{number:02d}" for number in range(1, 41)]
    points = pd.DataFrame({"place": [*names, "all"], "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.02})
    points = points.assign(task="stimulus", method="frozen", metric="top-1", n_candidates=50, title="study")
    with style.applied():
        made_ = subjects.figure_subjects(points, METHODS, "words")
    shown = [[text.get_text() for text in axis.get_xticklabels()] for axis in made_.axes]
    assert len(shown) == 2
    assert [name for part in shown for name in part] == [*names, "all"]
    assert made_.get_figwidth() <= subjects.WIDEST


def test_pictures_go_from_easy_to_hard_over_all_runs(inputs: dict[str, list[Path]]) -> None:
    rows = pd.concat([artefact.read_table(path) for path in inputs["rows"][:2]])
    table = pictures.by_picture(rows)
    for one in table.itertuples():
        own = rows[rows["target"] == one.target]
        assert (one.rank, one.top1) == (own["rank"].mean(), (own["rank"] == 1).mean())
    assert table["rank"].is_monotonic_increasing
    assert len(table) == N_CANDIDATES
    made_ = drawn("pictures", {**inputs, "rows": inputs["rows"][:2]}, SHOWN["pictures"])
    titles = [axis.get_title() for panel in made_.subfigs for axis in panel.axes if axis.images]
    wanted = [*table.iloc[:8].itertuples(), *table.iloc[:-9:-1].itertuples()]
    assert titles == [f"rank {one.rank:.1f}\n{100 * one.top1:.0f} %" for one in wanted]


def test_confusion_counts_what_came_first(inputs: dict[str, list[Path]]) -> None:
    rows = pd.concat([artefact.read_table(path) for path in inputs["rows"][:2]])
    found = confusion.confused(job("confusion", inputs), rows)
    assert sorted(found.names) == sorted(f"concept {N_TRAINING + number}" for number in range(N_CANDIDATES))
    np.testing.assert_allclose(found.share.sum(axis=1), 1)
    for name, line in zip(found.names, found.share, strict=True):
        own = rows[rows["target"] == f"picture-{int(name.split()[1]) - N_TRAINING:03d}"]
        assert line[found.names.index(name)] == (own["rank"] == 1).mean()
    taken = [best[0] for best in rows["top_ids"]]
    column = found.share[:, found.names.index(f"concept {N_TRAINING + 7}")].sum()
    assert column == pytest.approx(sum(name == "picture-007" for name in taken) / 2)


def test_neighbours_in_clip_stand_beside_each_other_whatever_came_out() -> None:
    embedding = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1], [-1, 0]], float)
    order = confusion.by_likeness(embedding).tolist()
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert abs(order.index(0) - order.index(2)) == abs(order.index(1) - order.index(3)) == 1


def test_few_classes_are_named_and_numbered() -> None:
    share = np.array([[0.75, 0.25, 0], [0.1, 0.9, 0], [0, 0, 1]])
    with style.applied():
        title = "Shrinkage LDA on the responses (no CLIP): study, intra, erp, 3 subjects, 1 seed, single trials"
        made_ = confusion.figure_confusion(confusion.Confusion(["face", "house", "tool"], share), title)
    assert cut_texts(made_) == []
    axis = made_.axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["face", "house", "tool"]
    assert [text.get_text() for text in axis.texts] == ["75", "25", "10", "90", "100"]
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("seen", "candidate with rank 1, of 3")


def test_accuracy_over_time_is_that_of_each_window(inputs: dict[str, list[Path]]) -> None:
    rows = pd.concat([artefact.read_table(path) for path in inputs["windows"]])
    points = timecourse.by_window(rows, BOOTSTRAP)
    assert points["time"].tolist() == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.125])
    third = rows[rows["start"] == 0.05]
    expected = statistics.mean_over_subjects(third, "top-1", 200)
    assert points.loc[2, ["value", "low"]].tolist() == [expected["value"], expected["t_low"]]
    assert points.loc[2, "sub-02"] == (third.loc[third["subject"] == "02", "rank"] == 1).mean()
    made_ = drawn("timecourse", {"rows": inputs["windows"]}, {})
    lines = {line.get_label(): line for line in made_.axes[0].lines}
    np.testing.assert_allclose(lines["mean of 3 subjects"].get_ydata(), 100 * points["value"])
    assert len(made_.axes[0].collections) == 1
    assert "windows of 50 ms" in made_.axes[0].get_title(loc="left")
    assert not drawn("timecourse", {"rows": inputs["windows"][:2]}, {}).axes[0].collections, "an interval of two"


def test_accuracy_over_time_of_classes_is_balanced() -> None:
    rows = window_rows("01", classes=True)
    assert set(timecourse.by_window(rows, BOOTSTRAP)["metric"]) == {"top-1@1"}, "of equally many queries it is that"
    unequal = rows.assign(target=rows["target"].replace(IDS[1], IDS[0]))
    points = timecourse.by_window(unequal, BOOTSTRAP)
    assert set(points["metric"]) == {"balanced-accuracy@1"}
