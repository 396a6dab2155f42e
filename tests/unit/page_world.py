"""A results page of a small world that was made by hand, without a pipeline before it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from brain2clip import artefact, stage
from brain2clip.reporting import tables
from brain2clip.reporting.page_parts import design
from brain2clip.retrieval import statistics

#: What a configuration may say and no page may do.
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">'\"&amp;{{ 7 * 7 }}"
METHODS = {"good": "Good <b>method</b>", "poor": HOSTILE, "ideal": "Ideal observer"}
SHARES = {"good": 0.9, "poor": 0.4, "ideal": 1.0}
SUBJECTS, SEEDS, STIMULI = ("01", "02", "03"), (0, 1), 12
RETRIEVAL = {"metrics": ["top-1", "median-rank"], "bootstrap": 100, "level": 0.95, "seed": 0}
KINDS: dict[str, dict[str, Any]] = {
    "main": {"kind": "methods"},
    "contrast": {"kind": "contrast", "reference": "poor"},
    "curve": {"kind": "repetitions"},
}
BLOCK = {"study": "world", "signal": "broad", "protocol": "within"}
PUBLISHED = (
    "study,protocol,scoring,method,metric,value,subject,selection,source,note\n"
    'bids,within,inductive,Theirs,top-1,0.5,,"best epoch on the test; by their code",A & B 2024,<i>caveat</i>\n'
)


def rows_of(method: str, subject: str, seed: int) -> pd.DataFrame:
    """Queries of a run: single trials and averages, the hardest stimulus always taken for the next one."""
    rng = np.random.default_rng([len(method), int(subject), seed])
    found = []
    for repetitions, count in (("1", 3), ("all", 1)):
        for query, (number, _) in enumerate(itertools.product(range(STIMULI), range(count))):
            right = rng.random() < SHARES[method] and (number != 5 or method == "ideal")
            order = list(range(number, number + STIMULI))
            best = [f"s{one % STIMULI:02d}" for one in (order if right else [*order[1:3], order[0], *order[3:]])]
            found.append(
                {
                    **BLOCK, "method": method, "subject": subject, "seed": seed, "repetitions": repetitions,
                    "query": query, "target": f"s{number:02d}", "n_candidates": STIMULI, "rank": 1 if right else 3,
                    "similarity": 0.5, "top_ids": best[:4], "top_similarities": [0.9, 0.7, 0.5, 0.1],
                    "task": "stimulus", "pool": 0, "margin": 0.2 if right else -0.4, "classes": False,
                }
            )  # fmt: skip
    return pd.DataFrame(found)


def job(folder: Path) -> stage.Job:
    """A job of the stage ``page`` with all that it reads, which shows pictures."""
    made = artefact.Provenance("rank", {}, "code", {}, {}, "origin")
    inputs: dict[str, list[Path]] = {"rows": [], "history": [], "published": [folder / "published.csv"]}
    parts = []
    for method, subject, seed in itertools.product(METHODS, SUBJECTS, SEEDS):
        where = Path(*BLOCK.values(), method)
        rows = rows_of(method, subject, seed)
        inputs["rows"].append(folder / "retrieval" / where / f"sub-{subject}_seed-{seed}.parquet")
        artefact.write_table(inputs["rows"][-1], rows, made)
        parts.append(statistics.summary(rows, RETRIEVAL))
        if method != "ideal":
            history = pd.DataFrame({"epoch": [1, 2], "seconds": 2.0 + seed, "cpu_seconds": 4.0, "device": "cpu"})
            inputs["history"].append(folder / "training" / where / f"sub-{subject}_seed-{seed}.history.parquet")
            artefact.write_table(inputs["history"][-1], history, made)
    artefact.write_table(folder / "summaries.parquet", pd.concat(parts), made, statistics.UNKNOWN)
    inputs["published"][0].write_text(PUBLISHED)
    given = {
        "tables": {name: {**kind, "experiments": ["demo"], "metric": "top-1"} for name, kind in KINDS.items()},
        "experiments": {"demo": {**{key: [one] for key, one in BLOCK.items()}, "study": "world", "signals": ["broad"],
                                 "protocols": ["within"], "methods": list(METHODS), "seeds": list(SEEDS)}},
        "studies": {"world": "bids"}, "modalities": {"world": "eeg"}, "protocols": {"within": "intra-subject"},
        "methods": METHODS, "ceilings": ["ideal"], "retrieval": RETRIEVAL,
    }  # fmt: skip
    read = {"summary": [folder / "summaries.parquet"], **{key: inputs[key] for key in ("rows", "published")}}
    shown = {f"{name}.{end}": folder / "tables" / f"{name}.{end}" for name in KINDS for end in ("parquet", "md", "tex")}
    tables.run(stage.Job("tables", given, "code", {}, read, {**shown, "summary": folder / "tables/summary.parquet"}))
    artefact.write_table(folder / "catalogue.parquet", catalogue(folder), made)
    inputs |= {
        "summary": [folder / "tables/summary.parquet"],
        "table": [folder / f"tables/{name}.parquet" for name in KINDS],
        "sheet": [folder / f"tables/{name}.md" for name in KINDS],
        "catalogue": [folder / "catalogue.parquet"],
        "figure": [],
    }
    ridge = {"kind": "ridge", "tower": "clip", "folds": 5, "alphas": [1.0]}
    about = {"words": HOSTILE, "simulated": False, "licence": HOSTILE, "citation": "Somebody 2020", "pass_on": "asked"}
    settings = {
        **given,
        "name": "world",
        "order": list(KINDS),
        "about": {"world": {**about, "pictures": "show", "part": None}},
        "signals": {"world": {"broad": {"band": {"l_freq": 1.0, "h_freq": 40.0}, "responses": {"sfreq": HOSTILE}}}},
        "chosen": {
            "good": ridge,
            "poor": {**ridge, "folds": 3, "note": HOSTILE},
            "ideal": {"kind": "i", "tower": "clip"},
        },
        "towers": {"clip": {"model": "ViT-B-32", "pretrained": None}},
        "tasks": ["stimulus"],
        "repetitions": ["1", "all"],
        "figures": [],
        "queries": 200,
        "design": design.digest(),
    }
    taken = [
        f"data/{name}.{end}"
        for name in ("summary", "methods", *(f"tables/{one}" for one in KINDS))
        for end in ("csv", "parquet")
    ]
    loaded = ["pictures/world.js", *(f"queries/world/broad/within/{name}/stimulus.js" for name in METHODS)]
    names = ["page.html", *taken, "data/queries.parquet", "data/queries.csv.gz", *loaded]
    return stage.Job("page", settings, "code", {}, inputs, {name: folder / "page" / name for name in names}, "origin")


def catalogue(folder: Path) -> pd.DataFrame:
    """Twelve pictures, each with a concept; the first has the hostile name."""
    rows = []
    for number in range(STIMULI):
        path = folder / "stimuli" / f"secret-name-{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (120, 120), (20 * number, 100, 255 - 20 * number)).save(path)
        concept = HOSTILE if number == 0 else f"concept {number}"
        rows.append({"stimulus_id": f"s{number:02d}", "split": "test", "concept": concept, "image": str(path),
                     "captions": [f"a secret caption {number} {HOSTILE}"], "prompts": ["a photo"]})  # fmt: skip
    rows.append({**rows[1], "stimulus_id": "t00", "split": "train", "image": str(folder / "stimuli/train.png")})
    return pd.DataFrame(rows)


def again(job: stage.Job, folder: Path, pictures: str | None = None, inputs: Any = None, **changes: Any) -> stage.Job:
    """The same job with other settings or inputs, and a page in another folder."""
    settings = {**job.settings, **changes}
    if pictures is not None:
        settings["about"] = {"world": {**settings["about"]["world"], "pictures": pictures}}
    outputs = {name: folder / "page" / name for name in job.outputs}
    return stage.Job("page", settings, "code", {}, {**job.inputs, **(inputs or {})}, outputs, "origin")


def with_generated(job: stage.Job, folder: Path) -> stage.Job:
    """The same job where pictures were generated of the predictions of the method ``good``, its first seed."""
    made = artefact.Provenance("generate", {}, "code", {}, {}, "origin")
    names = [f"s{number:02d}" for number in range(STIMULI)]
    inputs: dict[str, list[Path]] = {"judged": [], "generated": [], "oracle": [folder / "oracle/world/draw.h5"]}
    settings: dict[str, Any] = {"generated": [], "oracles": [["world", "draw"]], "judges": {"eye": HOSTILE}}
    settings["generators"] = {"draw": "local-dir:workflow/generators/grammar"}
    for subject in SUBJECTS:
        run = {**BLOCK, "method": "good", "subject": subject, "seed": 0}
        settings["generated"].append([*run.values(), "draw"])
        sources = [("generated", 0), ("generated", 1), ("generated", 2), ("nearest", 0), ("oracle", 0), ("another", 0)]
        rows = [
            {**run, "generator": "draw", "source": source, "stimulus_id": name, "sample": sample,
             "picture": "t00" if source == "nearest" else "", "judge": judge, "metric": metric, "value": value,
             "n_candidates": STIMULI, "partial": False}
            for name, (source, sample) in itertools.product(names, sources)
            for judge, metric, value in (("eye", "two-way", 0.875), ("eye", "rank", 2.0), ("pixels", "ssim", 0.25))
        ]  # fmt: skip
        inputs["judged"].append(folder / f"judge/sub-{subject}.parquet")
        artefact.write_table(inputs["judged"][-1], pd.DataFrame(rows), made)
        inputs["generated"].append(folder / f"generate/sub-{subject}.h5")
    # Red of three strengths for three samples, and green for the oracle, whose stimuli stand in another order.
    strengths = np.array([250, 150, 50], dtype=np.uint8)
    for path, channel, order in (
        *((one, 0, names) for one in inputs["generated"]),
        (inputs["oracle"][0], 1, names[::-1]),
    ):
        pictures = np.zeros((STIMULI, 3, 128, 128, 3), dtype=np.uint8)
        pictures[..., channel] = strengths[:, None, None]
        pictures[..., 2] = 10 * np.array([int(name[1:]) for name in order], dtype=np.uint8)[:, None, None, None]
        with artefact.create_h5(path, made) as file:
            file["picture"] = pictures
            file["stimulus_id"] = order
    Image.new("RGB", (120, 120), (90, 80, 70)).save(folder / "stimuli/train.png")
    more = ("generated/world/broad/within/good/draw.js", "oracle/world/draw.js")
    outputs = {name: folder / "page" / name for name in (*job.outputs, *more)}
    return stage.Job("page", {**job.settings, **settings}, "code", {}, {**job.inputs, **inputs}, outputs, "origin")
