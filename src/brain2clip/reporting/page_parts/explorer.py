"""Files that the explorer loads: queries with their candidates, and small pictures of the stimuli."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brain2clip.readers import pictures
from brain2clip.stage import InputError

if TYPE_CHECKING:
    from PIL import Image

#: Longer side of a small picture, and the quality of its WebP.
SIDE, QUALITY = 96, 80
#: Function of the page that files beside it call with what they hold.
CALL = "brain2clipLoaded"
#: Queries for one stimulus that a run holds at most, of single trials.
OF_STIMULUS = 2
_RUN = ["subject", "seed", "repetitions"]
#: Columns of the rows that the explorer shows, as they can be taken from the page.
COLUMNS = [
    *("study", "signal", "protocol", "method", "subject", "seed", "task", "repetitions", "query", "target", "rank"),
    *("n_candidates", "similarity", "margin", "top_ids", "top_similarities"),
]


def script(name: str, value: Any) -> str:
    """A file that gives the page a value, which a page from disk may load where it may not read files."""
    return f"{CALL}({embedded(name)},{embedded(value)});\n"


def embedded(value: Any) -> str:
    """JSON that can stand in HTML and in a script: no text in it can end either."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def shown(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Rows for all candidates, up to a number for each run, task and number of repetitions, never chosen by result.

    The first queries of every stimulus, two at most; where the stimuli alone are more, one of each of evenly spaced
    ones.
    """
    own = [*_RUN, "task"]
    found = rows[rows["pool"] == 0].sort_values([*own, "target", "query"], ignore_index=True)
    grouped = found.groupby(own, sort=False)["target"]
    count = grouped.transform("nunique")
    kept = found.groupby([*own, "target"], sort=False).cumcount() < (most // count).clip(1, OF_STIMULUS)
    for place in grouped.indices.values() if (count > most).any() else ():
        targets = found["target"].iloc[place].unique()
        spaced = targets[np.linspace(0, len(targets) - 1, min(most, len(targets))).round().astype(int)]
        kept.iloc[place] &= found["target"].iloc[place].isin(spaced)
    return found.loc[kept, COLUMNS]


def of_task(rows: pd.DataFrame, counts: Mapping[tuple[Any, ...], int]) -> dict[str, Any]:
    """The shown rows of a method and task, as the page reads them.

    Parameters
    ----------
    rows : DataFrame
        From :func:`shown`.
    counts : mapping
        Number of all queries by subject, seed and repetitions.
    """
    places: dict[str, int] = {}

    def place(name: str) -> int:
        return places.setdefault(name, len(places))

    runs = []
    for (subject, seed, repetitions), part in rows.groupby(_RUN, sort=False):
        numbers = [part[name].tolist() for name in ("query", "rank", "n_candidates")]
        scores = [[_short(value) for value in part[name].tolist()] for name in ("similarity", "margin")]
        best = [[place(name) for name in names] for names in part["top_ids"].tolist()]
        near = [[_short(value) for value in values.tolist()] for values in part["top_similarities"].tolist()]
        targets = [place(name) for name in part["target"].tolist()]
        queries = [list(one) for one in zip(targets, *numbers, *scores, best, near, strict=True)]
        names = {"subject": subject, "seed": int(seed), "repetitions": repetitions}
        runs.append({**names, "of": counts[subject, seed, repetitions], "queries": queries})
    return {"ids": list(places), "runs": runs}


def counted(rows: pd.DataFrame) -> dict[tuple[Any, ...], int]:
    """Number of all queries by subject, seed and repetitions."""
    sizes = rows[rows["pool"] == 0].groupby(_RUN).size()
    return {key: int(size) for key, size in sizes.items()}


def _short(value: float) -> float | None:
    """Four decimals; None where it is not known."""
    return None if math.isnan(value) else round(value, 4)


# ------------------------------------------------------------------------------------------------ stimuli


def webp(image: Image.Image, side: int) -> str:
    """A picture made small in its place, as data URI; its longer side is at most so many pixels."""
    content = io.BytesIO()
    image.thumbnail((side, side))
    image.save(content, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


@dataclass
class Stimuli:
    """Names of the stimuli of a study, and their pictures where these may be shown.

    Attributes
    ----------
    concept : dict
        Stimulus to its concept, of all stimuli.
    caption : dict
        Stimulus to its first caption; empty where pictures are hidden.
    picture : dict
        Stimulus to the file of its picture; empty where pictures are hidden, or the study has none.
    """

    concept: dict[str, str]
    caption: dict[str, str] = field(default_factory=dict)
    picture: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def read(cls, catalogue: pd.DataFrame, show: bool) -> Stimuli:
        """Those of a catalogue."""
        rows = catalogue[catalogue["split"] != "template"].to_dict("records")
        concept = {row["stimulus_id"]: row["concept"] for row in rows}
        if not show:
            return cls(concept)
        captions = {row["stimulus_id"]: row["captions"][0] for row in rows if len(row["captions"])}
        return cls(concept, captions, {row["stimulus_id"]: Path(row["image"]) for row in rows if row["image"]})

    def words(self, name: str) -> str:
        """A stimulus, or a class or sentence that stands for some, in words."""
        return self.concept.get(name) or name

    def small(self, name: str, side: int = SIDE) -> str | None:
        """A small picture as data URI; None where there is none to be shown.

        Raises
        ------
        InputError
            Where its file is missing or no picture.
        """
        path = self.picture.get(name)
        if path is None:
            return None
        if not path.is_file():
            raise InputError(f"no picture file for stimulus {name}; expected {path} (run from the folder above it)")
        return webp(pictures.read(path), side)

    def loaded(self, names: Collection[str]) -> dict[str, Any]:
        """Concept, caption and small picture of some stimuli, as the page reads them."""
        known = [name for name in sorted(names) if name in self.concept]
        small = {name: one for name in known if (one := self.small(name)) is not None}
        return {
            "concepts": {name: self.concept[name] for name in known},
            "captions": {name: self.caption[name] for name in known if name in self.caption},
            "pictures": small,
        }


# ------------------------------------------------------------------------------------- hard and confused


@dataclass(frozen=True)
class Hard:
    """A stimulus and how it is found.

    Attributes
    ----------
    target : str
    rank, top1 : float
        Means over subjects, seeds and queries.
    others : float
        Mean rank over all methods that are neither control nor ceiling.
    taken : str
        What came first most often in its place; empty where nothing did.
    """

    target: str
    rank: float
    top1: float
    others: float
    taken: str


@dataclass
class Found:
    """Ranks of a block by method, of one task and number of repetitions, among all candidates."""

    parts: dict[str, pd.DataFrame] = field(default_factory=dict)

    def add(self, method: str, rows: pd.DataFrame) -> None:
        """Keep what is needed of a method."""
        first = [best[0] if len(best) else "" for best in rows["top_ids"]]
        self.parts[method] = pd.DataFrame(
            {"target": rows["target"].to_numpy(), "rank": rows["rank"].to_numpy(), "first": first}
        )

    def hardest(self, method: str, beside: Sequence[str], most: int) -> list[Hard]:
        """Stimuli with the highest mean rank, hardest first; ties by id."""
        own = self.parts[method]
        means = own.assign(top1=own["rank"] == 1).groupby("target")[["rank", "top1"]].mean()
        others = pd.concat([self.parts[one] for one in beside if one in self.parts]).groupby("target")["rank"].mean()
        order = means.sort_values("rank", ascending=False, kind="stable").index[:most]
        return [
            Hard(name, float(means["rank"][name]), float(means["top1"][name]), float(others[name]), taken)
            for name, taken in ((name, self._taken(own, name)) for name in order)
            if means["rank"][name] > 1
        ]

    def per_stimulus(self, method: str) -> str:
        """How many queries a stimulus has, over subjects and seeds, in words."""
        sizes = self.parts[method].groupby("target").size()
        least, most = int(sizes.min()), int(sizes.max())
        return f"{least} to {most} queries" if least < most else f"{most} {'query' if most == 1 else 'queries'}"

    @staticmethod
    def _taken(own: pd.DataFrame, name: str) -> str:
        wrong = own[(own["target"] == name) & (own["first"] != name) & (own["first"] != "")]["first"]
        return str(wrong.mode().iloc[0]) if len(wrong) else ""

    def confused(self, method: str, most: int) -> list[tuple[str, str, float]]:
        """Pairs that are confused most often, with the mean share of both directions."""
        own = self.parts[method]
        queries = own.groupby("target").size()
        wrong = own[(own["first"] != own["target"]) & (own["first"] != "")]
        shares: dict[tuple[str, str], float] = {}
        for (target, first), count in wrong.groupby(["target", "first"]).size().items():
            pair = (min(target, first), max(target, first))
            shares[pair] = shares.get(pair, 0.0) + count / queries[target] / 2
        ordered = sorted(shares.items(), key=lambda one: (-one[1], one[0]))
        return [(*pair, share) for pair, share in ordered[:most]]


def parts(rows: pd.DataFrame, tasks: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each task."""
    for task in tasks:
        yield task, rows[rows["task"] == task]
