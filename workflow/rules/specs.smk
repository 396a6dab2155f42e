# What each job reads (its spec) and which files it takes; the rules themselves are in the other files.


# --------------------------------------------------------------------------------------- simulate


@cache
def simulate_pictures_spec(study):
    values = {"name": study, "study": picture_settings(study)}
    return spec("simulate_pictures", "brain2clip.simulation.simulate_pictures", values)


@cache
def simulate_recordings_spec(study, subject):
    values = {"name": study, "study": study_settings(study), "subject": subject}
    expects = {"simulate_pictures": expected(simulate_pictures_spec(study))}
    return spec("simulate_recordings", "brain2clip.simulation.simulate_recordings", values, expects)


@cache
def simulate_voxels_spec(study, subject):
    values = {"name": study, "study": study_settings(study), "subject": subject}
    expects = {"simulate_pictures": expected(simulate_pictures_spec(study))}
    return spec("simulate_voxels", "brain2clip.simulation.simulate_voxels", values, expects)


def truth_spec(study, subject):
    """Spec of the rule that writes the truth about a simulated subject."""
    return (simulate_voxels_spec if is_voxels(study) else simulate_recordings_spec)(study, subject)


def simulate_dataset_spec(study):
    values = {"name": study, "study": {**study_settings(study), "subjects": len(subjects_of(study))}}
    return spec("simulate_dataset", "brain2clip.simulation.simulate_dataset", values)


# --------------------------------------------------------------------------------------- download


def download_spec(dataset, unit):
    """Files of a download and nothing else: neither code nor how they are fetched makes it run again."""
    files = downloads()[dataset].get(unit)
    if files is None:
        raise WorkflowError(f"{dataset}: no download named {unit!r}; the manifest of the study does not list it")
    values = {
        "dataset": dataset,
        "root": f"{RESULTS}/raw/{dataset}",
        "files": [
            {"path": file.path, "size": file.size, "algorithm": file.algorithm, "hash": file.hash} for file in files
        ],
    }
    return {"stage": "download", "settings": values, "modules": [], "code": "", "expects": {}}


def amount(files):
    """Number and size of files in words."""
    return f"{len(files)} files, {sum(file.size or 0 for file in files) / 1e9:.3g} GB"


def missing_downloads():
    """Files that experiments and exports need and that no finished download has brought."""
    used = sorted({*studies_run(), *(one.study for one in CONFIG.exports.values())})
    return [
        file
        for dataset, units in downloads(*used).items()
        for unit, files in units.items()
        if not Path(f"{RESULTS}/downloads/{dataset}/{unit}.json").exists()
        for file in files
    ]


def images_spec(study):
    values = {"name": study_of(study).dataset, "study": picture_settings(study), "results": RESULTS}
    return spec("images", "brain2clip.downloads.images", values, extra=(study_module(study),))


def bringing_pictures():
    """Wildcard pattern of the datasets that bring their pictures in archives."""
    found = {study_of(name).dataset for name in CONFIG.studies if hasattr(study_of(name), "archive_files")}
    return "|".join(sorted(found)) or "(?!)"


def dataset_study(dataset):
    """A study of a dataset that brings its own pictures."""
    return next(name for name in CONFIG.studies if getattr(study_of(name), "dataset", None) == dataset)


# ----------------------------------------------------------------------------------------- epochs


@cache
def responses_spec(study, signal, subject):
    """Spec of the rule that makes the responses of a subject."""
    if is_voxels(study):
        return voxels_spec(study, signal, subject)
    if getattr(CONFIG.studies[study], "source", "raw") == "preprocessed":
        return preprocessed_spec(study, signal, subject)
    return epochs_spec(study, signal, subject)


@cache
def preprocessed_spec(study, signal, subject):
    one = epochs_spec(study, signal, subject)
    return spec("preprocessed", "brain2clip.responses.preprocessed", one["settings"], extra=(study_module(study),))


def signal_settings(study, signal):
    """What makes responses of a study's recordings: the study's own settings and those of the band or region."""
    block = CONFIG.studies[study]
    if is_voxels(study):
        return {"voxels": dump(block.voxels), "roi": dump(CONFIG.rois[signal])}
    return {"responses": dump(block.responses), "band": dump(CONFIG.bands[signal])}


def subject_settings(study, signal, subject):
    unread = OF_FEATURES.get(CONFIG.studies[study].kind, set())
    read = {key: value for key, value in study_settings(study).items() if key not in unread}
    own = {"name": study, "study": read, "subject": subject, "results": RESULTS}
    return own | signal_settings(study, signal)


@cache
def epochs_spec(study, signal, subject):
    values = subject_settings(study, signal, subject)
    return spec("epochs", "brain2clip.responses.epochs", values, extra=(study_module(study),))


@cache
def voxels_spec(study, roi, subject):
    values = subject_settings(study, roi, subject)
    return spec("voxels", "brain2clip.responses.voxels", values, extra=(study_module(study),))


# --------------------------------------------------------------------------------------- features


@cache
def features_spec(study, tower):
    values = {
        "name": study,
        "study": picture_settings(study),
        "tower": dump(CONFIG.towers[tower]),
        "ready": ready_features(study, tower),
        "results": RESULTS,
    }
    return spec("features", "brain2clip.stimuli.features", values, extra=(study_module(study),))


def ready_features(study, tower):
    """File of embeddings that stand in for a study's pictures, or None."""
    return getattr(CONFIG.studies[study], "ready_features", {}).get(tower)


def weights_of(tower):
    """Local files of a tower, so that a new checkpoint re-runs what depends on it."""
    return tower_files.of(CONFIG.towers[tower].model, CONFIG.towers[tower].pretrained)


# ----------------------------------------------------------------------------------------- export

#: Endings of the two files (training, test) of each format.
EXPORTED = {
    "nice": ("preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"),
    "ubp": ("train.pt", "test.pt"),
}


def export_spec(form, study, signal, subject):
    values = {"format": form, "name": study, "study": study_settings(study), "results": RESULTS, "subject": subject}
    expects = {"responses": expected(responses_spec(study, signal, subject))}
    return spec("export", "brain2clip.responses.export", values, expects, extra=(study_module(study),))


def export_files():
    return [
        f"{RESULTS}/export/{form}/{one.study}/{signal}/sub-{subject}/{ending}"
        for one in CONFIG.exports.values()
        for form in one.formats
        for signal in one.signals
        for subject in subjects_of(one.study)
        for ending in EXPORTED[form]
    ]


# ------------------------------------------------------------------------------------------ train


def sources(study, protocol, subject):
    """Subjects whose training trials are used."""
    if CONFIG.protocols[protocol].kind == "joint":
        return list(subjects_of(study))
    if CONFIG.protocols[protocol].kind == "intra-subject":
        return [subject]
    others = [other for other in subjects_of(study) if other != subject]
    if not others:
        raise WorkflowError(
            f"protocols.{protocol}: leave-one-subject-out needs at least two subjects in {study}; "
            "name more, or leave the protocol out of the experiments of this study"
        )
    return others


@per_run
def train_spec(w):
    method = CONFIG.methods[w.method]
    values = {
        "protocol": dump(CONFIG.protocols[w.protocol]),
        "method": {key: value for key, value in dump(method).items() if key != "label"},
        "tower": dump(CONFIG.towers[method.tower]),
        "seed": int(w.seed),
    }
    if method.kind == "mapping":
        values["subjects"] = sources(w.study, w.protocol, w.subject)
    expects = {
        "responses": [
            expected(responses_spec(w.study, w.signal, source)) for source in sources(w.study, w.protocol, w.subject)
        ],
        "features": expected(features_spec(w.study, method.tower)),
    }
    return spec("train", "brain2clip.training.train", values, expects)


# ------------------------------------------------------------------------------------------- rank


def run_columns(w):
    return {
        "study": w.study,
        "signal": w.signal,
        "protocol": w.protocol,
        "method": w.method,
        "subject": w.subject,
        "seed": int(w.seed),
    }


@per_run
def rank_spec(w):
    trained = train_spec(model_of(w))
    values = {
        "run": run_columns(w),
        "method": trained["settings"]["method"],
        "tower": trained["settings"]["tower"],
        "retrieval": CONFIG.retrieval.ranking(),
    }
    expects = {
        "responses": expected(responses_spec(w.study, w.signal, w.subject)),
        "features": trained["expects"]["features"],
        "train": expected(trained),
    }
    return spec("rank", "brain2clip.retrieval.rank", values, expects)


@per_run
def inspect_spec(w):
    ranked = rank_spec(w)
    values = {key: ranked["settings"][key] for key in ("run", "method", "tower")}
    return spec("inspect", "brain2clip.retrieval.inspect", values, ranked["expects"])


@per_run
def ceiling_spec(w):
    tower = CONFIG.methods[w.method].tower
    values = {
        "run": run_columns(w),
        **signal_settings(w.study, w.signal),
        "retrieval": CONFIG.retrieval.ranking(),
    }
    expects = {
        "responses": expected(responses_spec(w.study, w.signal, w.subject)),
        "features": expected(features_spec(w.study, tower)),
        "truth": expected(truth_spec(w.study, w.subject)),
    }
    return spec("ceiling", "brain2clip.retrieval.ceiling", values, expects)


@per_run
def embed_spec(w):
    ranked = rank_spec(w)
    values = {key: ranked["settings"][key] for key in ("run", "method", "tower")}
    return spec("embed", "brain2clip.retrieval.embed", values, ranked["expects"])


def retrieval_spec(run):
    """Spec of the rule that makes the retrieval artefacts of a run."""
    return ceiling_spec(run) if CONFIG.methods[run.method].kind == "ideal-observer" else rank_spec(run)


def checkpoint_of(w):
    return f"{RESULTS}/training/{model_of(w).path}.safetensors"


def tower_of(w):
    return f"{RESULTS}/stimuli/{w.study}/{CONFIG.methods[w.method].tower}.h5"


# ----------------------------------------------------------------------------------------- tables


def summaries():
    """Runs of each study, signal, protocol and method, in the order of all runs."""
    found = {}
    for run in runs():
        found.setdefault(run[:4], []).append(run)
    return found


@cache
def summaries_spec(study, signal, protocol, method):
    made = [{"origin": origin(retrieval_spec(run))} for run in summaries()[study, signal, protocol, method]]
    values = CONFIG.retrieval.statistics()
    modules = CONFIG.retrieval.metric_modules()
    return spec("summaries", "brain2clip.retrieval.summaries", values, {"rows": made}, extra=modules)


ENDINGS = ("parquet", "md", "tex")


def table_files():
    return [f"{RESULTS}/tables/summary.parquet"] + [
        f"{RESULTS}/tables/{table}.{ending}" for table in sorted(CONFIG.tables) for ending in ENDINGS
    ]


def tables_spec():
    values = {
        "tables": {name: dump(table) for name, table in CONFIG.tables.items()},
        "experiments": {name: dump(experiment) for name, experiment in CONFIG.experiments.items()},
        "studies": {name: study.kind for name, study in CONFIG.studies.items()},
        "modalities": {name: study.modality for name, study in CONFIG.studies.items()},
        "protocols": {name: protocol.kind for name, protocol in CONFIG.protocols.items()},
        "methods": {name: method.label or name for name, method in CONFIG.methods.items()},
        "zero_shot": [name for name in studies_run() if asked(lambda: study_of(name).zero_shot)],
        "ceilings": sorted(name for name, method in CONFIG.methods.items() if method.kind == "ideal-observer"),
        "retrieval": {**CONFIG.retrieval.intervals(), "pools": dump(CONFIG.retrieval)["pools"]},
    }
    expects = {
        "summary": [{"origin": origin(summaries_spec(*block))} for block in summaries()],
        "rows": [{"origin": origin(retrieval_spec(run))} for run in runs()],
    }
    modules = sorted({module for table in CONFIG.tables.values() for module in table.modules()})
    return spec("tables", "brain2clip.reporting.tables", values, expects, extra=modules)


# ---------------------------------------------------------------------------------------- figures


def largest_experiment(study, methods):
    """The experiment with the most runs, of those of a study that run one of some methods; None where none does."""
    listed = [
        (len(runs_of(one)), name)
        for name, one in CONFIG.experiments.items()
        if one.study == study and not methods.isdisjoint(one.methods)
    ]
    return CONFIG.experiments[max(listed)[1]] if listed else None


@cache
def main_experiment(study):
    """The experiment of a study with the most runs: its signal, protocol and seed are those of figures of single runs."""
    return largest_experiment(study, CONFIG.methods.keys())


@cache
def shown_method(study):
    """Method of gallery, gains and prompts: the named one where it was run, else the first NeuroCLIP, else the first."""
    ran = main_experiment(study).methods
    if CONFIG.figures.method in ran:
        return CONFIG.figures.method
    return next((name for name in ran if name in neuroclip_methods()), ran[0])


#: Kinds of methods whose predictions stay in CLIP's joint space.
JOINT_SPACE = ("mapping", "ridge")


@cache
def mapped_runs(study):
    """Runs that predict embeddings of the joint space, of the largest experiment with such: first signal, protocol, method."""
    able = {name for name, method in CONFIG.methods.items() if method.kind in JOINT_SPACE}
    experiment = largest_experiment(study, able)
    if experiment is None:
        return []
    ran = [name for name in experiment.methods if name in able]
    first = sorted(ran, key=lambda name: (name != CONFIG.figures.method, JOINT_SPACE.index(CONFIG.methods[name].kind)))
    wanted = (experiment.signals[0], experiment.protocols[0], *first[:1])
    return [run for run in runs_of(experiment) if run[1:4] == wanted]


@cache
def regions_experiment(study):
    """The experiment of a study with the most regions, then runs."""
    listed = [
        (len(one.signals), len(runs_of(one)), name) for name, one in CONFIG.experiments.items() if one.study == study
    ]
    return CONFIG.experiments[max(listed)[2]]


@cache
def regions_of(study):
    """Regions in the order of that experiment, then those of others."""
    others = [signal for one in CONFIG.experiments.values() if one.study == study for signal in sorted(one.signals)]
    return list(dict.fromkeys([*regions_experiment(study).signals, *sorted(others)]))


def region_runs(study):
    """Runs of all regions by the methods of that experiment."""
    experiment = regions_experiment(study)
    return [
        run
        for run in runs()
        if (run.study, run.protocol) == (study, experiment.protocols[0]) and run.method in experiment.methods
    ]


@cache
def both_studies():
    """The EEG study and the fMRI study with the most runs; None where one of the two is not run."""
    found = []
    for voxels in (False, True):
        ran = [run.study for run in runs() if is_voxels(run.study) == voxels]
        found.append(max(sorted(set(ran)), key=ran.count, default=None))
    return None if None in found else tuple(found)


def shows_accuracy():
    """Whether accuracy of averaged brain responses is there to be shown."""
    return "all" in CONFIG.retrieval.repetitions and bool(
        {"stimulus", "category", "caption"} & {*CONFIG.retrieval.tasks}
    )


def figure_studies():
    """Names that stand for studies in the paths of figures."""
    if both_studies() and BOTH in CONFIG.studies:
        raise WorkflowError(f"studies.{BOTH}: this name is that of figures of EEG and fMRI together; take another")
    return studies_run() + ([BOTH] if both_studies() and shows_accuracy() else [])


def figures_of(study):
    """Figures that the study's runs can fill."""
    return list(kinds_of_figures(study))


@cache
def kinds_of_figures(study):
    return figure_base.figures_of(PLAN, study)


def figure_files():
    return [f"{RESULTS}/figures/{study}/{figure}.svg" for study in figure_studies() for figure in figures_of(study)]


def made_files(folder, chosen, ending, spec_of):
    """Files of runs, each with the spec that makes it."""
    return {f"{RESULTS}/{folder}/{run.path}{ending}": spec_of(run) for run in chosen}


def responses_files(study, bands):
    return {
        f"{RESULTS}/responses/{study}/{signal}/sub-{subject}.h5": responses_spec(study, signal, subject)
        for signal in bands
        for subject in subjects_of(study)
    }


def stimuli_file(study, method):
    tower = CONFIG.methods[method].tower
    return {f"{RESULTS}/stimuli/{study}/{tower}.h5": features_spec(study, tower)}


#: What figures ask.
PLAN = SimpleNamespace(
    config=CONFIG,
    main_experiment=main_experiment,
    shown_method=shown_method,
    runs_of=runs_of,
    runs=runs,
    model_of=model_of,
    is_voxels=is_voxels,
    is_inspected=lambda method: method in neuroclip_methods(),
    regions_of=regions_of,
    region_runs=region_runs,
    regions_experiment=regions_experiment,
    mapped_runs=mapped_runs,
    both_studies=both_studies,
    shows_accuracy=shows_accuracy,
    responses_files=responses_files,
    stimuli_file=stimuli_file,
    made_files=made_files,
    train_spec=train_spec,
    retrieval_spec=retrieval_spec,
    inspect_spec=inspect_spec,
    embed_spec=embed_spec,
)


def figure_inputs(w):
    """Inputs of a figure: name to paths, each with the spec that makes it."""
    return kinds.load("figures", kinds_of_figures(w.study)[w.figure]).inputs(PLAN, w.study)


def figures_spec(w):
    kind = kinds_of_figures(w.study)[w.figure]
    values = figure_base.settings_of(PLAN, w.study, kind)
    expects = {
        name: [{"origin": origin(maker)} for maker in makers.values()] for name, makers in figure_inputs(w).items()
    }
    return spec("figures", "brain2clip.reporting.figures", values, expects, extra=figure_base.modules_of(kind))
