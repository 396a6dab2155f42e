"""Results of every method by number of training sessions of the tested subject, with a line for each protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brain2clip import settings, stage
from brain2clip.names import MetricName
from brain2clip.reporting.session_curves import INPUT, OTHERS, RANDOM, WORDS, Curve, curve_of
from brain2clip.reporting.table_base import Part, Record, TableBase
from brain2clip.reporting.table_records import levels_of, names_of
from brain2clip.reporting.typeset import Sheet
from brain2clip.reporting.wording import (
    EMPTY,
    Numbers,
    chance_of,
    common,
    interval_name,
    resampling,
    title,
)
from brain2clip.retrieval import statistics
from brain2clip.settings import Protocol

#: Pairs of curves that are compared if both exist.
COMPARED = ((OTHERS, RANDOM), (INPUT, RANDOM))


class Table(TableBase[settings.SessionsTable]):
    """Results of every method by number of training sessions of the tested subject, with a line for each protocol."""

    def build(self, parts: Sequence[Part]) -> tuple[list[Record], list[Sheet]]:
        """Records of all parts with a number of sessions, and a sheet for each study and signal."""
        given = self.context.settings.get("sessions", {})
        known = {name: Protocol.model_validate(one) for name, one in given.items()}
        if not any(part.protocol in known for part in parts):
            raise stage.InputError(
                f"table of kind sessions: found protocols {', '.join(sorted({part.protocol for part in parts}))}, none "
                "with a number of sessions; expected at least one with protocols.*.sessions"
            )
        records: list[Record] = []
        sheets = []
        for key in dict.fromkeys((part.study, part.signal) for part in parts if part.protocol in known):
            own = [part for part in parts if (part.study, part.signal) == key and part.protocol in known]
            new, sheet = self._of_curves(own, known)
            records += new
            sheets.append(sheet)
        return records, sheets

    def _of_curves(self, parts: Sequence[Part], known: Mapping[str, Protocol]) -> tuple[list[Record], Sheet]:
        metric = self.settings.metric
        shown = Numbers(metric)
        found: dict[tuple[str, Curve], dict[Any, Part]] = {}
        for part in parts:
            protocol = known[part.protocol]
            curve = curve_of(protocol)
            for method in part.methods:
                # Two protocols with the same settings have the same models.
                found.setdefault((method, curve), {}).setdefault(protocol.sessions, part)
        counts = sorted({count for own in found.values() for count in own}, key=lambda one: (one == "all", one))
        methods = sorted(dict.fromkeys(method for method, _ in found), key=self.context.is_ceiling)
        records: list[Record] = []
        body: list[list[str]] = []
        for method in methods:
            lines = [line for line in WORDS if (method, line) in found]
            ceiling = self.context.is_ceiling(method)
            for line in lines[:1] if ceiling else lines:  # an upper bound does not depend on training
                cells = self._line(found[method, line], method, counts, records)
                body.append([self.context.label(method), EMPTY if ceiling else WORDS[line], *cells])
        differences: list[list[str]] = []
        for method in methods:
            for one, other in COMPARED:
                if (method, one) in found and (method, other) in found and not self.context.is_ceiling(method):
                    pair = found[method, one], found[method, other]
                    cells = [self._difference(method, (one, other), pair, count, records) for count in counts]
                    words = f"{WORDS[one]} − {WORDS[other]}"
                    differences.append([self.context.label(method), words, *cells])
        chances = [chance_of([one for one in records if one["level"] == "mean"])] * len(counts)
        body += [[], ["chance", "", *map(shown.number, chances)]]
        body += [[], *differences] if differences else []
        first = parts[0]
        caption = (
            f"{title(shown, first, self.context)}; by the number of first sessions of the tested subject that were "
            f"used for training, with {interval_name(self.context)}. The test is the same for any number; if responses "
            "are normalised by session, test trials of later sessions are normalised with training trials of their own "
            "session. Means over training "
            f"seeds, queries and then subjects; differences are paired. {resampling(records, self.context)} "
            f"{common(records, shown)}"
        )
        header = ["method", "training", *(f"{count}" for count in counts)]
        return records, Sheet(f"{first.study}, {first.signal}", header, body, caption)

    def _line(self, own: Mapping[Any, Part], method: str, counts: Sequence[Any], records: list[Record]) -> list[str]:
        """Cells of a curve; its records are added."""
        shown = Numbers(self.settings.metric)
        cells = []
        for count in counts:
            new = levels_of(own[count], method, self.settings.metric, self.context) if count in own else []
            records += new
            cells.append(f"{shown.number(new[-1]['value'])} {shown.interval(new[-1])}" if new else EMPTY)
        return cells

    def _difference(
        self,
        method: str,
        curves: tuple[Curve, Curve],
        pair: tuple[Mapping[Any, Part], Mapping[Any, Part]],
        count: Any,
        records: list[Record],
    ) -> str:
        """Cell of the paired difference of two curves at a number of sessions; its record is added."""
        if any(count not in own for own in pair):
            return EMPTY
        shown, options = Numbers(self.settings.metric), self.context.settings["retrieval"]
        rows = [own[count].of(method) for own in pair]
        made = statistics.paired_difference(
            rows[0], rows[1], self.settings.metric, options["bootstrap"], options["level"], options["seed"]
        )
        label = self.context.label(method)
        record = {
            **names_of(pair[0][count], method, self.context),
            "label": f"{label}, {WORDS[curves[0]]}",
            "reference": f"{label}, {WORDS[curves[1]]}",
            "level": "difference",
            "task": MetricName.read(self.settings.metric).task,
            **{name: value for name, value in made.items() if name in KEPT},
            "value": made["difference"],
        }
        records.append(record)
        return f"{shown.signed(record['value'])} {shown.interval(record, signed=True)}"


#: Numbers of a paired difference that a record holds.
KEPT = (
    *("metric", "ci_low", "ci_high", "t_low", "t_high", "decides", "p_sign_flip"),
    *("n_subjects", "n_seeds", "n_stimuli", "n_queries", "resampled"),
)
