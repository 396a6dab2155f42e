"""Settings: what is refused, how it is said, and that equal settings are equal text."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from brain2clip import settings
from brain2clip.documents import reference

ROOT = Path(__file__).resolve().parents[2]

SMALL = {
    "studies": {
        "simulated": {"kind": "simulated", "subjects": 2},
        "mine": {
            "kind": "bids",
            "root": "data/mine",
            "tasks": ["view"],
            "stimulus": "trial_type",
            "split": {"by": "run", "test": ["02"]},
            "categories": {"face": ["a photo of a face"], "house": ["a photo of a house"]},
        },
    },
    "bands": {"broad": {"l_freq": 0.1, "h_freq": 40}, "alpha": {"l_freq": 8, "h_freq": 13}},
    "towers": {"small": {"model": "ViT-B-32", "pretrained": "weights/small.safetensors"}},
    "protocols": {"intra": {"kind": "intra-subject"}},
    "methods": {
        "neuroclip": {"kind": "contrastive", "label": "NeuroCLIP", "tower": "small"},
        "ridge": {"kind": "ridge", "label": "ridge regression", "tower": "small"},
    },
    "experiments": {
        "main": {
            "study": "simulated",
            "signals": ["broad"],
            "protocols": ["intra"],
            "methods": ["neuroclip", "ridge"],
        }
    },
    "tables": {"methods": {"kind": "methods", "experiments": ["main"]}},
}


def changed(**values):
    """The small configuration with values set at dotted paths (written with __)."""
    config = copy.deepcopy(SMALL)
    for path, value in values.items():
        *parents, last = path.split("__")
        place = config
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value
    return config


def refusal(**values) -> str:
    with pytest.raises(settings.SettingsError) as error:
        settings.load(changed(**values), "mine.yaml")
    return str(error.value)


def test_small_configuration_is_valid():
    config = settings.load(SMALL)
    assert config.bands["alpha"].l_freq == 8.0
    assert config.methods["neuroclip"].kind == "contrastive"


def test_blocks_are_frozen():
    config = settings.load(SMALL)
    with pytest.raises(ValueError, match="frozen"):
        config.bands["alpha"].l_freq = 9.0


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("experiments__main__bands", "experiments.main.bands: renamed to signals"),
        ("bandss", "did you mean 'bands'?"),
        ("bands__alpha__lfreq", "bands.alpha.lfreq: unknown key (did you mean 'l_freq'?)"),
        ("studies__simulated__subject", "studies.simulated.subject: unknown key (did you mean 'subjects'?)"),
        ("studies__simulated__noise__pink", "studies.simulated.noise.pink: unknown key (did you mean 'pink_uv'?)"),
        ("studies__mine__split__colum", "studies.mine.split.colum: unknown key (did you mean 'column'?)"),
        ("methods__ridge__alpha", "methods.ridge.alpha: unknown key (did you mean 'alphas'?)"),
        ("methods__neuroclip__visual__filter__forms", "methods.neuroclip.visual.filter.forms: unknown key"),
        ("methods__neuroclip__visual__filter__form", "methods.neuroclip.visual.filter.form: renamed to kind"),
        ("methods__neuroclip__encoder__name", "methods.neuroclip.encoder.name: renamed to kind"),
        ("studies__simulated__responses__whitening__clip", "studies.simulated.responses.whitening.clip: unknown key"),
        ("bands__alpha__zzz", "(known: l_freq, h_freq, notch)"),
    ],
)
def test_unknown_key(path, suggestion):
    message = refusal(**{path: 1})
    assert suggestion in message
    assert message.startswith("mine.yaml: 1 error in the settings")


def test_all_errors_at_once():
    message = refusal(
        bands__alpha__lfreq=1,
        bands__broad={"l_freq": 40, "h_freq": 8},
        studies__simulated__subjects=0,
        methods__ridge__folds="many",
        towers__small__cache="disk",
        protocols__loso={},
    )
    assert "6 errors" in message
    for path in (
        "bands.alpha.lfreq",
        "bands.broad: l_freq",
        "studies.simulated.subjects",
        "methods.ridge.folds",
        "towers.small.cache",
        "protocols.loso.kind",
    ):
        assert f"  - {path}" in message


@pytest.mark.parametrize(("low", "high"), [(40.0, 8.0), (8.0, 8.0)])
def test_band_upside_down(low, high):
    message = refusal(bands__alpha={"l_freq": low, "h_freq": high})
    assert f"bands.alpha: l_freq ({low} Hz) must be below h_freq ({high} Hz)" in message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bands": {}}, "experiments.main.signals: no bands entry named 'broad'"),
        ({"bands__a_b": {}}, "bands.a_b"),
        ({"bands__alpha__h_freq": float("nan")}, "bands.alpha.h_freq"),
        ({"studies__simulated__kind": "simulatd"}, "'simulated'"),
        (
            {"studies__other": {"subjects": 2}},
            "studies.other.kind: missing (found subjects); expected one of 'simulated'",
        ),
        ({"studies__mine__split": {"by": "column", "test": ["x"]}}, "studies.mine.split: split.column"),
        ({"studies__mine__stimuli": "pictures.tsv"}, "studies.mine: give either stimuli"),
        ({"studies__mine__responses__tmin": 1.0}, "studies.mine.responses: tmin (1.0 s) must be before tmax"),
        ({"studies__mine__responses__channels": 5}, "studies.mine.responses.channels: "),
        ({"studies__mine__responses__channels": ["Oz", 5]}, "studies.mine.responses.channels.1: "),
        ({"retrieval__repetitions": [1, "most"]}, "retrieval.repetitions.1: "),
        ({"methods__neuroclip__visual__head__width": 64}, "responses and of pictures must have the same size"),
        ({"methods__neuroclip__visual__fusion": {"heads": 3}}, "methods.neuroclip.visual.fusion: fusion.width"),
        ({"tables__gain": {"kind": "contrast", "experiments": ["main"]}}, "tables.gain.reference: field required"),
        ({"tables__methods__reference": "ridge"}, "tables.methods.reference: unknown key"),
        ({"tables__methods__metric": "top-7"}, "'top-7' is not computed; add top-7 to retrieval.metrics, found top-1"),
        ({"tables__methods__metric": "caption:top-1"}, "needs the task caption in retrieval.tasks, found stimulus"),
        ({"tables__methods__metric": "top-1@2"}, "needs 2 in retrieval.repetitions, found all"),
        ({"tables__methods__metric": "stimulus/9:top-1"}, "needs retrieval.pools of size 9"),
        ({"tables__methods__metric": "smell:top-1"}, "tables.methods.metric: no metric is named 'smell:top-1'"),
        ({"retrieval__top_k": [1]}, "retrieval.top_k: renamed to metrics"),
        ({"retrieval__n_way": [2]}, "retrieval.n_way: renamed to metrics"),
        ({"methods__neuroclip__visual": {"kind": "frozen", "fusion": {}}}, "visual.fusion: unknown key"),
        ({"studies__mine__split__train": ["01", "02"]}, "split: '02' is listed in train and in test"),
        ({"studies__mine__responses__baseline": [0.1, -0.1]}, "mine.responses: baseline [0.1, -0.1] must lie inside"),
        ({"studies__mine__responses__baseline": [-9, None]}, "mine.responses: baseline [-9.0, 0.8] must lie inside"),
        ({"towers__small__model": "local-dir:x"}, "whose folder has weights of its own; expected null"),
    ],
)
def test_refused(values, words):
    assert words in refusal(**values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("results", ""), ("results", "/"), ("results", ".."), ("results", "a{b}"), ("results", "a\nb"),
        ("methods__ridge__alphas", []), ("methods__ridge__alphas", [0, 1.0]), ("methods__ridge__alphas", [-1.0]),
        ("methods__ridge__alphas", [1, 1.0]), ("methods__ridge__alphas", [float("inf")]), ("methods__ridge__folds", 1),
        ("methods__neuroclip__optimiser__epochs", 0), ("methods__neuroclip__optimiser__lr", 0.0),
        ("methods__neuroclip__objective__soft_temperature", 0), ("methods__neuroclip__objective__scale_init", 1e3),
        ("methods__ridge__label", "a\x00b"), ("towers__small__pretrained", ""), ("towers__small__model", "\n"),
        ("experiments__main__seeds", []), ("experiments__main__seeds", [-1]), ("experiments__main__seeds", [2**32]),
        ("experiments__main__seeds", [0, 0]), ("experiments__main__seeds", [0, True]),
        ("experiments__main__methods", ["ridge", "ridge"]), ("experiments__main__signals", []),
        ("retrieval__seed", -1), ("retrieval__bootstrap", 10**9), ("retrieval__level", 1.0),
        ("retrieval__metrics", ["1-way"]), ("retrieval__metrics", ["0-way"]), ("retrieval__metrics", ["top-0"]),
        ("retrieval__metrics", []), ("retrieval__tasks", ["stimulus", "stimulus"]), ("retrieval__repetitions", [1, 1]),
        ("studies__simulated__seed", -1), ("studies__simulated__responses__repetitions__seed", -1),
        ("studies__simulated__responses__channels", []), ("studies__simulated__responses__channels", ["Oz", "Oz"]),
        ("studies__simulated__responses__channels", [""]), ("studies__simulated__responses__tmax", 600),
        ("studies__simulated__responses__sfreq", 0), ("studies__mine__root", ""), ("studies__mine__tasks", []),
        ("studies__mine__subjects", []), ("studies__mine__subjects", ["01", "01"]), ("studies__mine__split__test", []),
        ("studies__mine__stimulus", ""), ("bands__alpha__notch", [0]), ("bands__alpha__notch", [50, 50]),
        ("studies__mine__categories", {"face": ["a", "a"]}), ("studies__mine__keep", {"trial_type": []}),
        ("methods__neuroclip__encoder__width", 10**400), ("figures__topography_times", []),
        ("download__retries", 10**6),
    ],
)  # fmt: skip
def test_a_value_that_can_only_be_nonsense_is_refused_with_its_key(path, value):
    assert f"  - {path.replace('__', '.')}" in refusal(**{path: value})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("methods__neuroclip__optimiser__epochs", True, "expected a value other than true or false; found True"),
        ("methods__neuroclip__visual__prompts__depth", False, "write the word in quotes"),
        ("methods__neuroclip__visual__filter__kind", False, "write the word in quotes"),
        ("methods__neuroclip__label", True, "write the word in quotes"),
        (
            "studies__mine__split__test",
            [8],
            "split.test.0: input should be a valid string; found 8, write",
        ),
        ("studies__mine__categories", {False: ["a"]}, "found False, write it in quotes"),
    ],
)
def test_what_yaml_makes_of_a_bare_word_or_number_is_told(path, value, words):
    told = refusal(**{path: value})
    assert words in told
    assert path.replace("__", ".") in told


def test_a_switch_takes_yes_and_no_and_a_learning_rate_without_a_dot():
    """YAML reads 1e-3 as text."""
    config = settings.load(changed(methods__ridge__shuffle_labels=True, methods__neuroclip__optimiser={"lr": "1e-3"}))
    assert (config.methods["ridge"].shuffle_labels, config.methods["neuroclip"].optimiser.lr) == (True, 1e-3)


@pytest.mark.parametrize(
    ("path", "name", "suggestion"),
    [
        ("experiments__main__study", "simulate", "no studies entry named 'simulate' (did you mean 'simulated'?)"),
        ("experiments__main__signals", ["brod"], "no bands entry named 'brod' (did you mean 'broad'?)"),
        ("experiments__main__methods", ["neuroclip", "x"], "no methods entry named 'x' (known: neuroclip, ridge)"),
        ("experiments__main__protocols", ["inter"], "no protocols entry named 'inter'"),
        ("methods__ridge__tower", "large", "methods.ridge.tower: no towers entry named 'large' (known: small)"),
        ("tables__methods__experiments", ["mian"], "no experiments entry named 'mian' (did you mean 'main'?)"),
        (
            "tables__methods",
            {"kind": "contrast", "experiments": ["main"], "reference": "rigde"},
            "tables.methods.reference: no methods entry named 'rigde' (did you mean 'ridge'?)",
        ),
        ("figures__method", "neuroklip", "no methods entry named 'neuroklip' (did you mean 'neuroclip'?)"),
    ],
)
def test_name_that_does_not_exist(path, name, suggestion):
    assert suggestion in refusal(**{path: name})


# ------------------------------------------------------------------------------------------------- base


def test_base_is_inherited_deeply():
    config = settings.load(
        changed(
            methods__neuroclip__optimiser={"epochs": 7, "lr": 1e-3},
            methods__frozen={"base": "neuroclip", "label": "frozen", "visual": {"kind": "frozen"}},
            methods__longer={"base": "frozen", "optimiser": {"epochs": 9}},
        )
    )
    longer = config.methods["longer"]
    assert longer.label == "frozen"
    assert longer.visual.kind == "frozen"
    assert (longer.optimiser.epochs, longer.optimiser.lr) == (9, 1e-3)
    assert config.methods["neuroclip"].visual.kind == "neuroclip"


def test_a_block_of_another_kind_inherits_what_its_own_kind_has():
    raw = changed(
        methods__neuroclip__encoder={"kind": "tsconv", "width": 64, "smoothing_s": 0.1},
        methods__neuroclip__visual={"filter": {"kind": "gains", "init": "lowpass", "reduction": 4},
                                    "fusion": {"width": 64}, "head": {"kind": "bottleneck"}},
        methods__neuroclip__optimiser={"schedule": "constant", "lr": 1e-3, "lr_visual": 1e-2},
        methods__frozen={"base": "neuroclip", "visual": {"kind": "frozen"}, "encoder": {"kind": "eegproject"}},
        methods__fixed={"base": "neuroclip", "visual": {"filter": {"kind": "fixed"}}},
        methods__back={"base": "fixed", "visual": {"filter": {"kind": "gains"}}, "optimiser": {"schedule": {}}},
        methods__mapped={"base": "frozen", "kind": "mapping", "network": {"kind": "vae", "hidden": 32}},
        methods__mlp={"base": "mapped", "network": {"kind": "mlp"}},
        methods__linear={"base": "mlp", "network": {"kind": "linear"}},
    )  # fmt: skip
    methods = settings.load(raw).methods
    assert methods["frozen"].visual == settings.FrozenVisual(head=settings.Head(kind="bottleneck"))
    assert (methods["frozen"].encoder.kind, methods["frozen"].encoder.width) == ("eegproject", 64)
    assert methods["frozen"].encoder.smoothing_s == 0.1
    assert (methods["fixed"].visual.filter.kind, methods["fixed"].visual.filter.init) == ("fixed", "lowpass")
    assert methods["fixed"].visual.fusion.width == 64
    assert (methods["back"].visual.filter.init, methods["back"].visual.filter.reduction) == ("lowpass", 16)
    assert methods["back"].optimiser.schedule.kind == "constant"
    assert (methods["mapped"].optimiser.lr, methods["mapped"].optimiser.schedule.kind) == (1e-3, "constant")
    assert (methods["mlp"].network.kind, methods["mlp"].network.hidden) == ("mlp", 32)
    assert methods["linear"].network.kind == "linear"
    assert settings.not_inherited(raw) == {
        "methods.frozen.visual": ["filter", "fusion"],
        "methods.fixed.visual.filter": ["reduction"],
        "methods.mapped": ["encoder", "visual", "optimiser.lr_visual"],
        "methods.linear.network": ["hidden"],
    }


def test_own_keys_of_another_kind_are_refused_inherited_or_not():
    visual = {"kind": "frozen", "fusion": {"width": 64}}
    assert "methods.frozen.visual.fusion: unknown key" in refusal(
        methods__frozen={"base": "neuroclip", "visual": visual}
    )
    based = refusal(methods__other={"base": "ridge", "visual": {"kind": "frozen"}})
    assert "methods.other.visual: unknown key" in based
    assert "(base: ridge)" in based, "the kind comes from there"
    message = refusal(methods__neuroclip__visual={"fision": {}}, methods__same={"base": "neuroclip"})
    assert "methods.neuroclip.visual.fision: unknown key (did you mean 'fusion'?)" in message


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("encoder", {"kind": "tsconf"}, "encoder.kind: unknown kind 'tsconf' (did you mean 'tsconv'?); expected one of "
         "'eegproject', 'tsconv', 'nice', 'shallownet', 'deepnet', 'eegnet', 'stae', 'brainmlp', 'atm', "
         "'spatial-filters', 'braindecode', or package.module:Class for one of your own"),
        ("encoder", {"kind": "nowhere:Net"}, "encoder: kind 'nowhere:Net' in encoders: cannot import nowhere"),
        ("encoder", {"kind": "json:JSONDecoder"}, "needs a class attribute Settings that is a subclass of"),
        ("encoder", {"kind": 3}, "encoder.kind: unknown kind 3; expected one of 'eegproject', 'tsconv'"),
        ("encoder", "tsconv", "encoder: expected a block of keys (as {kind: tsconv}); found 'tsconv'"),
        ("optimiser__schedule", "cosin", "optimiser.schedule.kind: unknown kind 'cosin' (did you mean 'cosine'?)"),
        ("visual__adapter", {"kind": "lora", "rang": 4}, "visual.adapter.rang: unknown key (did you mean 'rank'?)"),
        ("visual__filter", {"kind": "off", "init": "lowpass"}, "visual.filter.init: unknown key"),
        ("kind", "contrastiv", "methods.neuroclip.kind: unknown kind 'contrastiv' (did you mean 'contrastive'?)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_kind_is_said_where_it_stands(path, value, words):
    message = refusal(**{f"methods__neuroclip__{path}": value})
    assert words in message
    assert message.startswith("mine.yaml: 1 error in the settings")


def test_the_prior_of_a_vae_moved_to_its_network():
    message = refusal(methods__m={"kind": "mapping", "tower": "small", "supervision": {"kl": 0.1}})
    assert "methods.m.supervision.kl: renamed to network.kl (of kind vae)" in message


def test_base_does_not_change_what_was_given():
    raw = changed(methods__frozen={"base": "neuroclip", "label": "frozen"})
    before = copy.deepcopy(raw)
    settings.load(raw)
    assert raw == before


def test_base_in_a_circle():
    message = refusal(methods__a={"base": "b"}, methods__b={"base": "a"})
    assert "methods.a.base: refers to itself in a circle: a -> b -> a" in message


def test_base_unknown_and_both_problems_shown():
    message = refusal(methods__a={"base": "neuroklip"}, methods__b={"base": "b"}, methods__c={"base": ["ridge"]})
    assert "methods.a.base: no method named 'neuroklip' (did you mean 'neuroclip'?)" in message
    assert "methods.b.base: refers to itself in a circle: b -> b" in message
    assert "methods.c.base: no method named ['ridge']" in message


def test_base_that_is_no_block():
    assert "methods.a: " in refusal(methods__a=None, methods__b={"base": "a", "kind": "ridge"})


# ------------------------------------------------------------------------------------------ canonical JSON


def shuffled(value):
    """The same content with all keys in reverse order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return value


def test_key_order_changes_nothing():
    assert settings.canonical(settings.load(SMALL)) == settings.canonical(settings.load(shuffled(SMALL)))


def test_eight_is_eight():
    whole = settings.load(changed(bands__alpha={"l_freq": 8, "h_freq": 13}))
    broken = settings.load(changed(bands__alpha={"l_freq": 8.0, "h_freq": 13.0}))
    assert settings.canonical(whole) == settings.canonical(broken)
    assert json.loads(settings.canonical(whole.bands["alpha"])) == {"l_freq": 8.0, "h_freq": 13.0}


def test_a_default_written_out_changes_nothing():
    assert settings.canonical(settings.load(changed(bands__alpha__notch=[]))) == settings.canonical(
        settings.load(SMALL)
    )


def test_canonical_refuses_what_is_not_a_setting():
    with pytest.raises(TypeError, match="cannot be a value in settings"):
        settings.canonical({"path": Path("x")})


edges = st.floats(0, 1e4, allow_nan=False).map(lambda x: round(x, 6))
bands = st.builds(
    lambda low, width, notch: settings.Band(l_freq=low, h_freq=None if low is None else low + width, notch=notch),
    st.none() | edges,
    st.floats(1e-3, 1e3),
    st.lists(st.floats(1, 500), max_size=3, unique=True).map(tuple),
)
methods = st.builds(
    settings.Contrastive,
    label=st.text(st.characters(exclude_categories=["C"]), max_size=20),
    tower=st.just("small"),
    objective=st.builds(settings.Objective, beta=st.floats(0, 1), soft_target=st.sampled_from(["clip", "uniform"])),
    optimiser=st.builds(settings.Optimiser, lr=st.floats(1e-8, 1), epochs=st.integers(1, 999)),
    shuffle_labels=st.booleans(),
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(bands)
def test_band_round_trip(band):
    text = settings.canonical(band)
    assert settings.parse(settings.Band, text) == band
    assert settings.canonical(settings.parse(settings.Band, json.loads(text))) == text


@hypothesis_settings(max_examples=40, deadline=None)
@given(methods)
def test_method_round_trip(method):
    text = settings.canonical(method)
    assert settings.parse(settings.Method, text) == method
    assert settings.canonical(settings.parse(settings.Method, text)) == text


def test_whole_configuration_round_trip():
    config = settings.load(SMALL)
    assert settings.load(json.loads(settings.canonical(config))) == config


def test_merge_is_deep_and_replaces_lists():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert settings.merge(base, {"a": {"c": [3]}, "e": 2}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


# ---------------------------------------------------------------------------------- shipped configurations


SHIPPED = sorted([*ROOT.glob("config.yaml"), *ROOT.glob("workflow/studies/*.yaml")])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_shipped_configuration_is_valid(path):
    config = settings.load(yaml.safe_load(path.read_text(encoding="utf-8")), path.name)
    assert config.experiments


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_shipped_configuration_fits_the_schema(path):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), reference.schema())


# ------------------------------------------------------------------------------------------------ reference


def test_every_field_is_described():
    undescribed = [
        f"{block.__name__}.{name}"
        for block in reference.blocks()
        for name, field in block.model_fields.items()
        if not field.description and name != "kind"
    ]
    assert undescribed == []


def test_schema_accepts_a_method_with_a_base_and_refuses_a_typing_error():
    jsonschema = pytest.importorskip("jsonschema")
    schema = reference.schema()
    based = changed(methods__frozen={"base": "neuroclip", "visual": {"kind": "frozen"}})
    jsonschema.validate(based, schema)
    based["methods"]["frozen"]["visuals"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(based, schema)
