"""Every figure is drawn from synthetic artefacts by the stage itself, without a warning, to well-formed SVG."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brain2clip import artefact, stage
from brain2clip.reporting import blocks, figures, style
from brain2clip.reporting.figure_gains import gain_curves
from brain2clip.reporting.figure_gallery import chosen
from brain2clip.reporting.figure_prompts import figure_prompts
from brain2clip.reporting.figure_ranks import binned
from brain2clip.retrieval import ranks

METHODS = {"neuroclip": "NeuroCLIP", "frozen": "Frozen CLIP", "ridge": "Ridge"}
N_CANDIDATES = 50
IDS = [f"picture-{number:03d}" for number in range(N_CANDIDATES)]

#: Right and front of each electrode on the unit sphere.
PLACES = {
    **{"Fz": (0, 0.7), "C3": (-0.7, 0), "Cz": (0, 0), "C4": (0.7, 0), "P7": (-0.8, -0.58), "P3": (-0.5, -0.6)},
    **{"Pz": (0, -0.7), "P4": (0.5, -0.6), "P8": (0.8, -0.58), "PO7": (-0.58, -0.8), "PO8": (0.58, -0.8)},
    **{"O1": (-0.3, -0.94), "Oz": (0, -0.99), "O2": (0.3, -0.94)},
}


def made(stage_name: str) -> artefact.Provenance:
    return artefact.Provenance(stage_name, {}, "code")


def write_responses(path: Path, seed: int, known: bool = True) -> None:
    names = list(PLACES)
    flat = np.array(list(PLACES.values()))
    position = 0.095 * np.column_stack([flat, np.sqrt(1 - (flat**2).sum(axis=1))])
    rng = np.random.default_rng(seed)
    times = np.arange(-0.2, 0.8, 0.01)
    back = np.clip(-position[:, 1] / 0.08, -0.3, 1)[:, None]
    erp = 4e-6 * back * np.exp(-(((times - 0.17) / 0.04) ** 2)) + 3e-7 * rng.standard_normal((len(names), len(times)))
    freqs = np.arange(0, 125, 0.5)
    psd = 1e-11 / (1 + freqs) + 2e-12 * np.exp(-(((freqs - 10) / 1.5) ** 2)) + 1e-15
    with artefact.create_h5(path, made("epochs")) as file:
        file["channel"] = names
        file["times"] = times
        file["position"] = position if known else np.full_like(position, np.nan)
        file["quality/erp"] = erp
        file["quality/freqs"] = freqs
        file["quality/psd"] = psd * rng.uniform(0.5, 2, (len(names), 1))


def write_stimuli(path: Path, pictures: Path | None) -> None:
    from PIL import Image

    images = [""] * N_CANDIDATES
    if pictures is not None:
        pictures.mkdir(exist_ok=True)
        for number, name in enumerate(IDS):
            pixels = np.zeros((60, 60, 3), np.uint8)
            pixels[..., number % 3] = 5 * number
            pixels[10:50, 10 + number % 20 : 40] = 255 - 4 * number
            Image.fromarray(pixels).save(pictures / f"{name}.png")
            images[number] = str(pictures / f"{name}.png")
    frequency = np.linspace(0, 1, 64)
    edges = np.clip((np.log2(np.maximum(frequency, 1e-3) / 0.1) + 0.5), 0, 3)
    window = np.stack([np.clip(1 - np.abs(edges - band), 0, 1) for band in range(4)])
    with artefact.create_h5(path, made("features")) as file:
        file["stimulus_id"] = IDS
        file["image"] = images
        file["concept"] = [f"concept {number}" for number in range(N_CANDIDATES)]
        file["caption"] = [f"a photo of a striped red thing number {number}" for number in range(N_CANDIDATES)]
        file["band_window"], file["band_frequency"] = window, frequency
        file.attrs["kind"] = "prompts" if pictures is None else "pictures"


def retrieval_rows(study: str, protocol: str, method: str, subject: str, seed: int, strength: float) -> pd.DataFrame:
    rng = np.random.default_rng([seed, int(subject), len(method)])
    similarity = rng.standard_normal((N_CANDIDATES, N_CANDIDATES)) + strength * np.eye(N_CANDIDATES)
    indices, values = ranks.best(similarity)
    return pd.DataFrame(
        {
            **{"study": study, "band": "broad", "protocol": protocol, "method": method},
            **{"subject": subject, "seed": seed, "repetitions": "all", "query": np.arange(N_CANDIDATES), "target": IDS},
            **{"n_candidates": N_CANDIDATES, "rank": ranks.ranks(similarity, np.arange(N_CANDIDATES))},
            "similarity": np.diag(similarity),
            "top_ids": [[IDS[index] for index in row] for row in indices],
            "top_similarities": list(values),
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
            path = folder / "retrieval" / run
            artefact.write_table(path, rows, made("rank"))
            found["rows"].append(path)
            path = (folder / "training" / run).with_suffix(".history.parquet")
            artefact.write_table(path, history, made("train"))
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
    return {**found, "stimuli": [folder / "stimuli.h5"]}


def job(inputs: dict[str, list[Path]], outputs: dict[str, Path], method: str | None = None) -> stage.Job:
    shown = {"method": method, "topography_times": [0.1, 0.17, 0.3]}
    return stage.Job("figures", {"figures": shown, "methods": METHODS}, "code", {}, inputs, outputs)


@pytest.mark.parametrize("name", list(figures.FIGURES))
def test_figure_renders_without_warning(name: str, inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    path = tmp_path / f"{name}.svg"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        figures.run(job(inputs, {name: path}))
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    assert path.stat().st_size < 3_000_000
    assert "brain2clip" in path.read_text() or '"stage":"figures"' in path.read_text()


def test_same_data_give_the_same_bytes(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    paths = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in paths:
        figures.run(job(inputs, {"ranks": path}))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_gallery_of_text_candidates(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    text = {**inputs, "stimuli": [inputs["stimuli"][0].with_name("prompts.h5")]}
    figures.run(job(text, {"gallery": tmp_path / "gallery.svg"}))
    assert (tmp_path / "gallery.svg").is_file()


def test_erp_without_positions_says_so(tmp_path: Path) -> None:
    path = tmp_path / "responses" / "mine" / "broad" / "sub-01.h5"
    write_responses(path, 1, known=False)
    with style.applied():
        drawn = figures.erp(job({"responses": [path]}, {}))
    words = [text.get_text() for panel in drawn.subfigs for axis in panel.axes for text in axis.texts]
    assert any("positions of the channels are unknown" in text for text in words)


def test_unknown_figure_and_missing_input_are_named(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(stage.InputError, match="no figure named raincloud"):
        figures.run(job(inputs, {"raincloud": tmp_path / "x.svg"}))
    with pytest.raises(stage.InputError, match="--input rows=PATH"):
        figures.run(job({**inputs, "rows": []}, {"ranks": tmp_path / "x.svg"}))


def test_figure_method_falls_back_to_the_first_that_ran(inputs: dict[str, list[Path]]) -> None:
    for method, label in ((None, "NeuroCLIP"), ("ridge", "Ridge"), ("other", "NeuroCLIP")):
        with style.applied():
            drawn = figures.gallery(job(inputs, {}, method))
        assert drawn.get_suptitle().startswith(label)


def test_prompts_without_a_frozen_readout() -> None:
    table = pd.DataFrame({"stimulus_id": IDS, "cosine_before": np.nan, "cosine_after": 0.4, "token_shift": 0.0})
    with style.applied():
        drawn = figure_prompts(table, "no readout")
    assert "no embedding without prompts" in drawn.axes[0].texts[0].get_text()


def test_rank_bins_sum_to_one_and_chance_counts_candidates() -> None:
    np.testing.assert_allclose(binned(np.arange(1, 11), 10), [0.1, 0.1, 0.2, 0.4, 0.2])
    assert binned([1, 1, 2, 4], 4).tolist() == [0.5, 0.25, 0.25]


def test_gain_curve_is_the_weighted_sum_of_windows() -> None:
    window = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    table = pd.DataFrame({"stimulus_id": ["a", "a"], "band_index": [1, 0], "gain": [2.0, 1.0]})
    np.testing.assert_allclose(gain_curves(table, window), [[1.0, 1.5, 2.0]])


def test_gallery_queries_do_not_depend_on_results(inputs: dict[str, list[Path]]) -> None:
    rows = artefact.read_table(inputs["rows"][0])
    shuffled = rows.assign(rank=rows["rank"].to_numpy()[::-1]).sample(frac=1, random_state=0)
    assert chosen(rows)["query"].tolist() == chosen(shuffled)["query"].tolist()


def test_run_names_come_from_the_path() -> None:
    path = Path("results/training/simulated/broad/intra-subject/neuroclip/sub-01_seed-2.history.parquet")
    assert blocks.from_run_path(path) == {
        **{"study": "simulated", "band": "broad", "protocol": "intra-subject"},
        **{"method": "neuroclip", "subject": "01", "seed": 2},
    }
    with pytest.raises(ValueError, match="expected STUDY"):
        blocks.from_run_path(Path("history.parquet"))
