"""The results page: what it says without JavaScript, what it never lets through, what lies beside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import page_world
import pandas as pd
import pytest
import yaml
from page_world import HOSTILE, METHODS
from PIL import Image

from brain2clip import artefact, stage
from brain2clip.plan import Plan
from brain2clip.reporting import page, table_base, tables, typeset, wording
from brain2clip.reporting.page_parts import chosen, drawing, explorer, glossary, sheets
from brain2clip.retrieval import statistics
from brain2clip.settings import Study, load, parse

TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"


class Read(HTMLParser):
    """A page as one reads it without JavaScript: its elements, and all text outside of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif not self.inside:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> stage.Job:
    made = page_world.job(tmp_path_factory.mktemp("page"))
    page.run(made)
    return made


@pytest.fixture(scope="module")
def read(world) -> Read:
    return Read(world.output("page.html"))


def everything(job: stage.Job) -> dict[str, bytes]:
    """All files of a page; what is packed, unpacked."""
    found = {name: path.read_bytes() for name, path in job.outputs.items()}
    found["data/queries.csv.gz"] = gzip.decompress(found["data/queries.csv.gz"])
    return found


def loaded(path: Path) -> tuple[str, dict]:
    """Name and value of a file that the page loads."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"{explorer.CALL}(")
    name, _, value = text.removeprefix(f"{explorer.CALL}(").rstrip(");\n").partition(",")
    return json.loads(name), json.loads(value)


# ------------------------------------------------------------------------------------------ without JavaScript


def test_a_person_who_reads_only_the_page_knows_what_was_found(world, read):
    """Best, by how much, how certain, where it fails, chance, selection, cost, and where the numbers are."""
    table = artefact.read_table(world.inputs["table"][0])
    mean = table[(table["level"] == "mean") & (table["method"] == "good")].iloc[0]
    contrast = artefact.read_table(world.inputs["table"][1])
    difference = contrast[contrast["method"] == "good"].iloc[0]
    assert f"Good <b>method</b> has the best mean: {100 * mean['value']:.1f}" in read.text
    assert f"[{100 * mean['t_low']:.1f}, {100 * mean['t_high']:.1f}]" in read.text
    assert f"+{100 * difference['value']:.1f} points" in read.text
    assert "It fails most on concept 5" in read.text
    assert f"Chance is {100 / page_world.STIMULI:.1f} %." in read.text
    assert "the penalty by 5-fold cross-validation over training concepts" in read.text
    # 2 + 2 and 3 + 3 seconds, two seeds, three subjects
    assert "Cost of training a model of it: 5.00 s, 2 epochs, cpu (mean of 6 models, 30.0 s in all)." in read.text
    assert "(t over subjects) over 3 subjects, 2 training seeds" in read.text
    assert 'href="data/methods.csv"' in world.output("page.html").read_text()
    for words in (
        "12 test stimuli of 12 concepts",
        "Inductive",
        "zero-shot",
        "EEG, within subjects, 1 to 40 Hz (world, within, broad)",
        "may be passed on: only if you may",
        "All repetitions of a test stimulus (3) are averaged",
        "1 to 40 Hz",
        "Somebody 2020",
        "01, 02, 03",
    ):
        assert words in read.text, words


def test_all_tables_stand_there_with_their_captions(world, read):
    for name, path in zip(world.settings["order"], world.inputs["sheet"], strict=True):
        found = sheets.read(path)
        assert found, name
        for sheet in found:
            assert " ".join(sheet.caption.split()) in read.text
            assert all(" ".join(cell.split()) in read.text for row in sheet.rows for cell in row)
    figures = [given["aria-label"] for tag, given in read.elements if tag == "svg" and "aria-label" in given]
    assert any("subjects" in words and "chance" in words for words in figures), "a dot for each subject, in words"


def test_the_numbers_of_a_method_are_those_of_its_table(world):
    own = artefact.read_table(world.output("data/methods.parquet")).set_index("method")
    means = artefact.read_table(world.inputs["table"][0]).query("level == 'mean'").set_index("method")
    assert own["value"].to_dict() == means["value"].to_dict()
    lows = means["t_low"].where(means["decides"] == "t", means["ci_low"])
    assert own["low"].to_dict() == lows.to_dict()
    assert own.loc["good", "fingerprint"] == hashlib.sha256("\n".join(["origin"] * 6).encode()).hexdigest()
    assert json.loads(own.loc["poor", "settings"])["folds"] == 3


def test_published_rows_stand_apart_with_source_selection_and_caveat(read):
    row = read.text.partition("Published numbers, each with its source")[2].partition("All tables")[0]
    for words in (
        "Theirs",
        "50.0 %",
        "A & B 2024",
        "best epoch on the test; by their code",
        "<i>caveat</i>",
        "inductive",
    ):
        assert words in row, words
    assert "Theirs" not in read.text.partition("Published numbers Not computed here")[0], (
        "nowhere among the measured ones"
    )


def test_a_median_rank_is_best_where_it_is_lowest(world):
    found = {name: frame.assign(metric="median-rank") for name, frame in page.read_tables(world).items()}
    shown = {name: {**table, "metric": "median-rank"} for name, table in world.settings["tables"].items()}
    blocks = page.measured.blocks(found, {**world.settings, "tables": shown}, pd.DataFrame())
    assert [line.method for line in blocks[0].ranked] == ["poor", "good"]


def test_a_table_from_outside_may_know_no_intervals(world):
    unknown = dict.fromkeys(("decides", "n_subjects", "n_seeds", "n_queries", "n_stimuli", "p_sign_flip"), pd.NA)
    found = {name: frame.assign(**unknown) for name, frame in page.read_tables(world).items()}
    (block,) = page.measured.blocks(found, world.settings, pd.DataFrame())
    assert {line.interval for line in block.lines} == {"–"}
    compared = page.measured.contrasts(found, world.settings, {})
    assert {(line.interval, line.by) for one in compared for line in one.lines} == {("–", "")}
    assert page.measured.answer(block, compared)[0].startswith("Good <b>method</b>")


# ------------------------------------------------------------------------------------ which task, which method


def other_task(frame: pd.DataFrame, **values: float) -> pd.DataFrame:
    """A table's rows as of matching captions, with means of its own."""
    rows = frame[frame["level"].isin(["mean", "difference"])].assign(metric="caption:top-1", task="caption")
    means = rows["level"] == "mean"
    return rows.assign(value=rows["value"].where(~means, rows["method"].map(values)))


def with_captions(world, **values: float) -> tuple[dict[str, pd.DataFrame], dict]:
    """Tables of a job of which the first, by name, is of another task."""
    found = page.read_tables(world)
    tables = {"captions": {**world.settings["tables"]["main"], "metric": "caption:top-1"}, **world.settings["tables"]}
    return {"captions": other_task(found["main"], **values), **found}, {**world.settings, "tables": tables}


def test_every_block_is_told_by_the_task_of_pictures_and_names_who_is_best_elsewhere(world):
    found, given = with_captions(world, good=0.3, poor=0.5, ideal=1.0)
    (block,) = page.measured.blocks(found, given, pd.DataFrame())
    assert (block.metric, block.table) == ("top-1", "main")
    assert block.others == [("caption", [HOSTILE], "50.0", "30.0")]
    said = " ".join(page.measured.answer(block, []))
    assert f"On other tasks another method is best: caption: {HOSTILE} 50.0 % (this one: 30.0 %)." in said
    found, given = with_captions(world, good=0.6, poor=0.5, ideal=1.0)
    (block,) = page.measured.blocks(found, given, pd.DataFrame())
    assert "best on the other tasks of the tables too (caption)" in " ".join(page.measured.answer(block, []))
    (alone,) = page.measured.blocks({"captions": found["captions"]}, given, pd.DataFrame())
    assert alone.metric == "caption:top-1", "what there is"


def test_a_contrast_of_another_task_is_not_taken_for_one_of_this_nor_hidden(world):
    found, given = with_captions(world, good=0.3, poor=0.5, ideal=1.0)
    (block,) = page.measured.blocks(found, given, pd.DataFrame())
    counts = {("world", "broad", "within", "caption"): 12}
    own = page.measured.contrasts({"contrast": other_task(found["contrast"])}, given, counts)
    assert [one.task for one in own] == ["matching brain to caption: 12 captions"]
    (said,) = [one for one in page.measured.answer(block, own) if "compared" in one]
    line = own[0].lines[0]
    assert said.startswith(
        "These two are compared on the same queries only for another task, matching brain to caption: 12 captions: "
        f"{line.words} is {line.value} points {line.interval} (table contrast). For this task their intervals"
    )
    (said,) = [one for one in page.measured.answer(block, []) if "compares" in one]
    assert said.startswith("No table compares these two")


def test_a_control_is_never_the_best_and_its_place_beside_chance_is_said(world, tmp_path):
    chosen_ones = {**world.settings["chosen"]}
    chosen_ones["good"] = {**chosen_ones["good"], "shuffle_labels": True}
    made = page_world.again(world, tmp_path, chosen=chosen_ones)
    page.run(made)
    lines = artefact.read_table(made.output("data/methods.parquet"))
    assert lines["method"].tolist() == ["poor", "good", "ideal"], "the best first, controls behind, ceilings last"
    assert lines["control"].tolist() == [False, True, False]
    text = Read(made.output("page.html")).text
    assert f"{HOSTILE} has the best mean" in text
    assert "By 1 method" in text
    assert "is a control: it learned from permuted pictures" in text
    assert "does not include chance" in text


@pytest.mark.parametrize(
    ("shares", "by"),
    [((0.9, 0.8, 0.7), "t over subjects"), ((0.5, 0.5, 0.5), "bootstrap"), ((0.0, 0.0, 0.0), "exact binomial")],
)
def test_each_row_says_how_its_interval_was_made(shares, by):
    parts = []
    for subject, share in zip(page_world.SUBJECTS, shares, strict=True):
        rows = page_world.rows_of("good", subject, 0).query("repetitions == 'all'").reset_index(drop=True)
        parts.append(rows.assign(rank=[1 if number < round(share * len(rows)) else 3 for number in range(len(rows))]))
    mean = statistics.mean_over_subjects(pd.concat(parts), "top-1", 100)
    assert page.measured.INTERVALS[wording.interval_kind(mean)] == by
    record = {"level": "mean", "protocol": "within", **mean}
    context = tables.Context({"retrieval": page_world.RETRIEVAL}, pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    said = wording.resampling([record], context)
    assert ("all subjects are equal" in said) == (by == "bootstrap")
    assert ("exact binomial" in said) == (by == "exact binomial")


def test_p_is_told_only_where_it_can_say_something(world):
    found = page.read_tables(world)
    shown = {line.p for one in page.measured.contrasts(found, world.settings, {}) for line in one.lines}
    assert shown == {"–"}, "three subjects"
    more = {name: frame.assign(n_subjects=6, p_sign_flip=0.03125) for name, frame in found.items()}
    shown = {line.p for one in page.measured.contrasts(more, world.settings, {}) for line in one.lines}
    assert shown == {"0.031"}


def test_the_penalty_that_was_chosen_is_told(world, tmp_path):
    where = tmp_path.joinpath("training", *page_world.BLOCK.values(), "good")
    for subject, scores in (("01", [0.1, 0.3, 0.3]), ("02", [0.4, 0.3, 0.2])):
        history = pd.DataFrame({"alpha": [1.0, 1e6, 1e7], "held_out_mrr": scores, "seconds": 1.0, "device": "cpu"})
        artefact.write_table(
            where / f"sub-{subject}_seed-0.history.parquet", history, artefact.Provenance("train", {}, "code")
        )
    files = {"history": sorted(where.glob("*.parquet"))}
    told = "cross-validation over training concepts (chosen: 1 for subject 02; 1000000 for subject 01{})"
    for tried, beyond in (
        ([0.1, 1.0, 1e6, 1e7], ""),
        ([1.0, 1e6, 1e7], "; the smallest that was tried, so the best may lie beyond: 1"),
        ([1.0, 1e6], "; the smallest and the largest that were tried, so the best may lie beyond: 1 and 1000000"),
    ):
        good = {**world.settings["chosen"]["good"], "alphas": tried}
        made = page_world.again(world, tmp_path, inputs=files, chosen={**world.settings["chosen"], "good": good})
        page.run(made)
        assert told.format(beyond) in Read(made.output("page.html")).text


@pytest.mark.parametrize(
    ("pass_on", "words"), [("always", "on: yes"), ("asked", "on: only if you may"), ("never", "on: no")]
)
def test_the_protocol_says_whether_pictures_may_be_passed_on(world, pass_on, words):
    (block,) = page.measured.blocks(page.read_tables(world), world.settings, pd.DataFrame())
    about = {"world": {**world.settings["about"]["world"], "pass_on": pass_on}}
    summary = artefact.read_table(world.inputs["summary"][0])
    stimuli = artefact.read_table(world.inputs["catalogue"][0])
    told = dict(page.words.protocol(block, {**world.settings, "about": about}, stimuli, summary, 12, "3", {}))
    assert words in told["Pictures"]
    assert f"licence {HOSTILE}" in told["Pictures"]


def test_all_columns_of_the_files_are_explained(world, read):
    explained = {name for names in glossary.COLUMNS for name in names.split(", ")}
    for name in world.outputs:
        if name.startswith("data/") and name.endswith(".parquet"):
            assert set(artefact.read_table(world.output(name))) <= explained, name
    assert {*table_base.COLUMNS, *statistics.SUMMARY_COLUMNS} <= explained
    assert "a share from 0 to 1" in read.text


def test_words_are_explained_where_they_stand(read):
    found = dict(glossary.of("<style>mvnn</style> a query by Ridge and its rank"))
    assert list(found) == ["Query", "Rank", "Ridge regression"]
    assert "The place of the right candidate" in read.text


def test_without_tables_it_says_how_to_get_one(world, tmp_path):
    made = page_world.again(world, tmp_path, inputs={"table": [], "sheet": []}, order=[], tables={})
    page.run(made)
    assert "kind: methods" in Read(made.output("page.html")).text


# --------------------------------------------------------------------------------------------- nothing gets through


def test_text_of_a_configuration_stays_text(world, read):
    assert HOSTILE in " ".join(read.texts), "it is shown as it stands"
    allowed = {"html", "head", "meta", "title", "style", "body", "a", "header", "h1", "h2", "h3", "h4", "p", "strong"}
    allowed |= {"nav", "ul", "li", "main", "section", "article", "div", "span", "table", "caption", "thead", "tbody"}
    allowed |= {
        "tfoot",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "code",
        "svg",
        "line",
        "circle",
        "path",
        "text",
        "figure",
    }
    allowed |= {"polyline", "figcaption", "img", "dl", "dt", "dd", "noscript", "footer", "script"}
    assert {tag for tag, _ in read.elements} <= allowed, "no <b>, no <i>"
    assert not [given for _, given in read.elements if any(name.startswith("on") for name in given)]
    assert all(given["src"].startswith("data:image/") for tag, given in read.elements if tag == "img")
    assert len([tag for tag, _ in read.elements if tag == "script"]) == 2
    assert all(json.loads(read.scripts[0])["labels"][name] == METHODS[name] for name in METHODS)
    assert "<" not in read.scripts[0]
    for name, content in everything(world).items():
        if name.endswith(".js"):
            assert b"<" not in content, name


def test_nothing_is_fetched_from_anywhere(world, read):
    local = re.compile(r"(#|data/[\w./-]+$|data:image/)")
    for tag, given in read.elements:
        for name in ("href", "src", "action", "srcset", "data"):
            assert local.match(given.get(name) or "#"), (tag, given)
    text = world.output("page.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    files = {given["href"] for tag, given in read.elements if tag == "a" and not given["href"].startswith("#")}
    assert files <= set(world.outputs), "every file that can be taken is one that the rule makes"
    assert {name for name in world.outputs if name.startswith("data/")} == files


def test_what_can_be_taken_is_what_is_shown(world):
    queries = artefact.read_table(world.output("data/queries.parquet"))
    text = pd.read_csv(
        io.BytesIO(gzip.decompress(world.output("data/queries.csv.gz").read_bytes())), dtype={"subject": str}
    )
    assert len(text) == len(queries) == len(METHODS) * 3 * 2 * page_world.STIMULI * 3  # two single trials, one average
    assert text["target"].tolist() == queries["target"].tolist()
    assert json.loads(text["top_ids"][0]) == list(queries["top_ids"][0])
    name, value = loaded(world.output("queries/world/broad/within/good/stimulus.js"))
    assert name == "queries/world/broad/within/good/stimulus"
    own = queries[queries["method"] == "good"]
    assert sum(len(run["queries"]) for run in value["runs"]) == len(own)
    first = value["runs"][0]
    assert (first["subject"], first["seed"], first["repetitions"], first["of"]) == ("01", 0, "1", 36)
    target, query, rank, count, similarity, margin, best, _ = first["queries"][0]
    row = own[(own["subject"] == "01") & (own["seed"] == 0) & (own["repetitions"] == "1") & (own["query"] == query)]
    assert (value["ids"][target], rank, count, similarity) == (row["target"].item(), row["rank"].item(), 12, 0.5)
    assert [value["ids"][place] for place in best] == list(row["top_ids"].item())
    assert margin == pytest.approx(row["margin"].item())


def test_pages_are_small_and_the_same_twice(world, tmp_path):
    assert world.output("page.html").stat().st_size < 300_000
    made = page_world.again(world, tmp_path)
    page.run(made)
    assert everything(made) == everything(world)


# ------------------------------------------------------------------------------------------------- pictures


def test_shown_pictures_are_small_and_named(world):
    _, value = loaded(world.output("pictures/world.js"))
    assert set(value["pictures"]) == {f"s{number:02d}" for number in range(page_world.STIMULI)}
    image = Image.open(io.BytesIO(base64.b64decode(value["pictures"]["s03"].partition(",")[2])))
    assert (image.format, max(image.size)) == ("WEBP", explorer.SIDE)
    assert image.convert("RGB").getpixel((5, 5)) == pytest.approx((60, 100, 195), abs=6)
    assert value["captions"]["s03"].startswith("a secret caption 3")


def test_hidden_pictures_are_in_no_file_nor_their_paths_and_captions(world, tmp_path):
    hidden = page_world.again(world, tmp_path, pictures="hide")
    page.run(hidden)
    for name, content in everything(hidden).items():
        for secret in (b"secret-name", b"data:image", b"a secret caption", b"WEBP"):
            assert secret not in content, (name, secret)
    assert any(b"data:image/webp" in content for content in everything(world).values()), "else this test sees nothing"
    text = Read(hidden.output("page.html")).text
    assert "Pictures are hidden" in text
    assert "concept 5" in text


@pytest.fixture(scope="module")
def generating(tmp_path_factory) -> stage.Job:
    folder = tmp_path_factory.mktemp("generated")
    made = page_world.with_generated(page_world.job(folder), folder)
    page.run(made)
    return made


def seen(uri: str) -> tuple[int, tuple[int, int, int]]:
    """Longer side and colour of a picture of one colour."""
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return max(image.size), image.convert("RGB").getpixel((5, 5))


def test_generated_pictures_stand_beside_the_page_with_nearest_oracle_and_judgements(generating):
    _, value = loaded(generating.output("generated/world/broad/within/good/draw.js"))
    assert [(run["subject"], run["seed"]) for run in value["runs"]] == [("01", 0), ("02", 0), ("03", 0)]
    one = value["runs"][1]["stimuli"]["s07"]
    assert [seen(uri) for uri in one["pictures"]] == [(64, pytest.approx((red, 0, 70), abs=6)) for red in (250, 150)]
    assert (one["nearest"], value["concepts"]) == ("t00", {"t00": "concept 1"})
    assert seen(value["pictures"]["t00"]) == (64, pytest.approx((90, 80, 70), abs=6))
    assert value["columns"] == ["SSIM ↑", f"{HOSTILE}: two-way (%) ↑", f"{HOSTILE}: rank of 12 ↓"]
    line = ["0.250", "87.5", "2"]
    assert one["scores"] == {"generated": [line, line], "nearest": [line], "oracle": [line]}
    _, oracle = loaded(generating.output("oracle/world/draw.js"))
    assert seen(oracle["s07"][0]) == (64, pytest.approx((0, 250, 70), abs=6)), "by id, whatever the order of the file"
    asked = json.loads(Read(generating.output("page.html")).scripts[0])["generated"]
    assert asked == {"world/broad/within/good": ["draw"]}


def test_generated_pictures_are_in_no_file_where_pictures_are_hidden(generating, tmp_path):
    hidden = page_world.again(generating, tmp_path, pictures="hide")
    page.run(hidden)
    for name, content in everything(hidden).items():
        for secret in (b"data:image", b"WEBP", b"train.png"):
            assert secret not in content, (name, secret)
    _, value = loaded(hidden.output("generated/world/broad/within/good/draw.js"))
    assert value["concepts"] == {"t00": "concept 1"}, "names stand there"
    assert loaded(hidden.output("oracle/world/draw.js"))[1] == {}


def test_the_page_reads_generated_pictures_where_there_are_any():
    names = ("judged", "generated", "oracle")
    without = planned().page_job()
    assert not set(without.inputs) & set(names)
    assert not {"generated", "oracles", "judges", "generators"} & set(without.spec.settings)
    fmri = TINY.with_name("tiny-fmri.yaml")
    made = Plan(load(yaml.safe_load(fmri.read_text(encoding="utf-8")))).page_job()
    for name in names:
        assert len(made.inputs[name]) == len(made.spec.expects[name]) > 0
    assert {path for path in made.outputs if "/generated/" in path or "/oracle/" in path}


def test_a_missing_picture_is_told_by_its_file(world, tmp_path):
    stimuli = page_world.catalogue(tmp_path)
    (tmp_path / "stimuli/secret-name-05.png").unlink()
    artefact.write_table(tmp_path / "catalogue.parquet", stimuli, artefact.Provenance("catalogue", {}, "code"))
    made = page_world.again(world, tmp_path, inputs={"catalogue": [tmp_path / "catalogue.parquet"]})
    with pytest.raises(stage.InputError, match=r"no picture file for stimulus s05; expected .*secret-name-05\.png"):
        page.run(made)


def test_another_design_than_planned_is_refused(world, tmp_path):
    with pytest.raises(stage.InputError, match="changed since snakemake planned this job"):
        page.run(page_world.again(world, tmp_path, design="0" * 64))


def planned(**changes) -> Plan:
    return Plan(load({**yaml.safe_load(TINY.read_text(encoding="utf-8")), **changes}))


@pytest.mark.parametrize(
    ("study", "asked", "shown"),
    [
        ("simulated", None, "show"),
        ("simulated", "hide", "hide"),
        ("mine", None, "hide"),
        ("mine", "show", "show"),
        ("things", None, "hide"),
        ("things", "show", "hide"),
    ],
)
def test_pictures_are_shown_where_they_may_be_passed_on(study, asked, shown, monkeypatch):
    plan = planned(page={"pictures": asked})
    settings = {"simulated": "always", "mine": "asked", "things": "never"}
    monkeypatch.setattr(type(plan.block("simulated")), "pass_on", settings[study])
    assert plan.page_spec().settings["about"]["simulated"]["pictures"] == shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "things_eeg2"}, None),
        ({"kind": "things_eeg2", "source": "preprocessed"}, "was fitted to test trials, too"),
        ({"kind": "god"}, None),
        ({"kind": "god", "voxels": {"normalise": "session"}}, None),
        ({"kind": "god", "voxels": {"normalise": "run"}}, "Test runs are z-scored with all of their own rows"),
        ({"kind": "god", "voxels": {"detrend": "linear", "normalise": "run"}}, "are detrended and z-scored with"),
    ],
)
def test_what_test_trials_were_used_for_is_said(given, said):
    used = parse(Study, given).test_rows_used
    text = page.words.stimuli(pd.DataFrame({"split": ["train", "test"], "concept": ["a", "b"]}), used)
    assert ("or normalisation." in text) == (said is None)
    assert said is None or said in text


def test_kinds_of_studies_say_whether_pictures_may_be_passed_on():
    from brain2clip import settings

    found = {
        name: getattr(settings, name).pass_on
        for name in ("SimulatedStudy", "BidsStudy", "VoxelTableStudy", "ThingsEeg2Study", "GodStudy", "StudyBase")
    }
    assert list(found.values()) == ["always", "asked", "asked", "never", "never", "never"]


# ------------------------------------------------------------------------------------------------------ plan


def test_the_page_reads_all_rows_and_tables_and_nothing_reads_it():
    plan = planned()
    jobs = plan.jobs()
    made = jobs["results/page/page.html"]
    assert set(made.outputs) <= set(plan.targets())
    assert {path for job in jobs.values() if job.stage in ("rank", "ceiling") for path in job.outputs} == set(
        made.inputs["rows"]
    )
    assert set(made.inputs["table"]) == {path for path in plan.tables()[1:] if path.endswith(".parquet")}
    assert not [job.stage for job in jobs.values() for paths in job.inputs.values() if set(paths) & set(made.outputs)]


def test_settings_of_the_page_run_the_page_alone():
    before, after = (
        {path: job.spec.json for path, job in planned(page=given).jobs().items()}
        for given in ({}, {"queries": 10, "pictures": "hide"})
    )
    assert [path for path in before if before[path] != after[path]] == ["results/page/page.html"]
    written = {path: job.spec.json for path, job in planned(page={"queries": 200, "pictures": None}).jobs().items()}
    assert written == before == {path: job.spec.json for path, job in planned().jobs().items()}


# -------------------------------------------------------------------------------------------------- parts of it


def test_queries_are_capped_by_stimulus_and_evenly_never_by_result():
    rows = pd.concat([page_world.rows_of("good", "01", 0), page_world.rows_of("good", "02", 0)], ignore_index=True)
    for most, single, averaged in ((200, 24, 12), (12, 12, 12), (4, 4, 4)):
        found = explorer.shown(rows, most)
        assert set(found.groupby(["subject", "repetitions"]).size()[:, "1"]) == {single}
        assert set(found.groupby(["subject", "repetitions"]).size()[:, "all"]) == {averaged}
    assert sorted(found["target"].unique()) == ["s00", "s04", "s07", "s11"]
    worse = rows.assign(rank=rows["rank"].iloc[::-1].to_numpy())
    assert explorer.shown(worse, 4)["query"].tolist() == found["query"].tolist()


def test_hard_and_confused_stimuli():
    found = explorer.Found()
    own = pd.DataFrame({"target": ["a", "a", "b", "b", "c"], "rank": [3, 3, 1, 2, 1]})
    own["top_ids"] = [["b", "a"], ["b", "c"], ["b"], ["a", "b"], ["c"]]
    found.add("one", own)
    found.add("other", own.assign(rank=[1, 1, 1, 1, 1]))
    hard = found.hardest("one", ["one", "other"], 5)
    assert [(one.target, one.rank, one.top1, one.others, one.taken) for one in hard] == [
        ("a", 3.0, 0.0, 2.0, "b"),
        ("b", 1.5, 0.5, 1.25, "a"),
    ]
    assert found.confused("one", 5) == [("a", "b", 0.75)]


def test_a_method_is_told_by_what_differs_from_the_nearest():
    all_of_them = {
        "a": {"kind": "x", "optimiser": {"lr": 0.1, "epochs": 5, "none": None}},
        "b": {"kind": "x", "optimiser": {"lr": 0.2, "epochs": 5}},
        "c": {"kind": "y"},
    }
    found = chosen.difference("b", list(all_of_them), all_of_them)
    assert (found.nearest, found.settings) == ("a", [("optimiser.lr", "0.2", "0.1")])
    other = chosen.difference("c", list(all_of_them), all_of_them)
    assert (other.nearest, other.settings) == (None, [("kind", "y", "–")]), "of another kind: by its own settings"
    first = chosen.difference("a", list(all_of_them), all_of_them)
    assert (first.nearest, len(first.settings)) == (None, 3)
    assert chosen.used({"selection": {"rule": "last", "share": 0.1}}) == {"selection": {"rule": "last"}}
    kept = {"selection": {"rule": "held-out-concepts", "share": 0.1}}
    assert chosen.used(kept) == kept


def test_axes_are_round_and_hold_everything():
    axis = drawing.scale([2.0, 97.3])
    assert (axis.low, axis.high) == (0.0, 100.0)
    assert axis.place(0.0, 0, 100) == 0.0
    assert axis.place(50.0, 0, 100) == 50.0
    assert axis.place(500.0, 0, 100) == 100.0
    signed = drawing.scale([-11.7, 13.7])
    assert signed.low <= -11.7 < 13.7 <= signed.high
    assert 0.0 in signed.ticks


def test_captions_broken_behind_a_hyphen_are_whole_again(tmp_path):
    path = tmp_path / "t.md"
    path.write_text(
        "# t\n\n## a\\|b\n\nleave-one-\nsubject-out, 5 - 3\n\n| m | v |\n| --- | --: |\n| x | 1 |\n\n- a \\*note\n"
    )
    (sheet,) = sheets.read(path)
    assert (sheet.title, sheet.caption) == ("a|b", "leave-one-subject-out, 5 - 3")
    assert (sheet.header, sheet.rows, sheet.notes) == (["m", "v"], [["x", "1"]], ["a *note"])


def test_what_stands_once_for_several_rows_stands_in_each(tmp_path):
    rows = [
        ["EEG", "a", "one", "1.0", ""],
        ["", "", "two", "", "2.0"],
        ["", "b", "", "3.0", ""],
        ["chance", "", "", "", ""],
    ]
    sheet = typeset.Sheet("all", ["technique", "study", "method", "x", "y"], rows, "Caption", left=3)
    (tmp_path / "all.md").write_text(typeset.markdown("all", [sheet]), encoding="utf-8")
    (read,) = page.sheets.read(tmp_path / "all.md")
    assert read.left == 3
    assert read.rows == [
        ["EEG", "a", "one", "1.0", ""],
        ["EEG", "a", "two", "", "2.0"],
        ["EEG", "b", "", "3.0", ""],
        ["chance", "", "", "", ""],
    ]


def test_unseen_concepts_of_simulated_studies_are_told_for_what_they_are(world, tmp_path):
    about = {study: {**one, "simulated": True} for study, one in world.settings["about"].items()}
    made = page_world.again(world, tmp_path, about=about)
    page.run(made)
    assert ("only not in these combinations" in Read(made.output("page.html")).text) == any(
        one.concepts != "seen" for one in page.measured.blocks(page.read_tables(made), made.settings, pd.DataFrame())
    )
