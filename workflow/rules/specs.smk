# What each job reads (its spec) and which files it takes; the rules themselves are in the other files.


# --------------------------------------------------------------------------------------- simulate


@cache
def simulate_pictures_spec(study):
    values = {"name": study, "study": picture_settings(study)}
    return spec("simulate_pictures", "brain2clip.studies.simulate_pictures", values)


@cache
def simulate_recordings_spec(study, subject):
    values = {"name": study, "study": study_settings(study), "subject": subject}
    expects = {"simulate_pictures": expected(simulate_pictures_spec(study))}
    return spec("simulate_recordings", "brain2clip.studies.simulate_recordings", values, expects)


@cache
def simulate_voxels_spec(study, subject):
    values = {"name": study, "study": study_settings(study), "subject": subject}
    expects = {"simulate_pictures": expected(simulate_pictures_spec(study))}
    return spec("simulate_voxels", "brain2clip.studies.simulate_voxels", values, expects)


def truth_spec(study, subject):
    """Spec of the rule that writes the truth about a simulated subject."""
    return (simulate_voxels_spec if is_voxels(study) else simulate_recordings_spec)(study, subject)


def simulate_dataset_spec(study):
    values = {"name": study, "study": {**study_settings(study), "subjects": len(subjects_of(study))}}
    return spec("simulate_dataset", "brain2clip.studies.simulate_dataset", values)


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
    return {
        "stage": "download",
        "format": artefact.FORMAT,
        "settings": values,
        "modules": [],
        "code": "",
        "expects": {},
    }


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
    return spec("images", "brain2clip.studies.images", values, extra=(study_module(study),))


def bringing_pictures():
    """Wildcard pattern of the datasets that bring their pictures in archives."""
    found = {study_of(name).dataset for name in CONFIG.studies if hasattr(study_of(name), "archive_files")}
    return "|".join(sorted(found)) or "(?!)"


def dataset_study(dataset):
    """A study of a dataset that brings its own pictures."""
    return next(name for name in CONFIG.studies if getattr(study_of(name), "dataset", None) == dataset)


# ----------------------------------------------------------------------------------------- epochs


@cache
def responses_spec(study, band, subject):
    """Spec of the rule that makes the responses of a subject."""
    if is_voxels(study):
        return voxels_spec(study, band, subject)
    if getattr(CONFIG.studies[study], "signal", "raw") == "preprocessed":
        return preprocessed_spec(study, band, subject)
    return epochs_spec(study, band, subject)


@cache
def preprocessed_spec(study, band, subject):
    one = epochs_spec(study, band, subject)
    return spec("preprocessed", "brain2clip.responses.preprocessed", one["settings"], extra=(study_module(study),))


def signal_settings(study, band):
    """What makes responses of a study's recordings: the study's own settings and those of the band or region."""
    block = CONFIG.studies[study]
    if is_voxels(study):
        return {"voxels": dump(block.voxels), "roi": dump(CONFIG.rois[band])}
    return {"responses": dump(block.responses), "band": dump(CONFIG.bands[band])}


def subject_settings(study, band, subject):
    unread = OF_FEATURES.get(CONFIG.studies[study].kind, set())
    read = {key: value for key, value in study_settings(study).items() if key not in unread}
    own = {"name": study, "study": read, "subject": subject, "results": RESULTS}
    return own | signal_settings(study, band)


@cache
def epochs_spec(study, band, subject):
    values = subject_settings(study, band, subject)
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


def export_spec(form, study, band, subject):
    values = {"format": form, "name": study, "study": study_settings(study), "results": RESULTS, "subject": subject}
    expects = {"responses": expected(responses_spec(study, band, subject))}
    return spec("export", "brain2clip.responses.export", values, expects, extra=(study_module(study),))


def export_files():
    return [
        f"{RESULTS}/export/{form}/{one.study}/{band}/sub-{subject}/{ending}"
        for one in CONFIG.exports.values()
        for form in one.formats
        for band in one.bands
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
            expected(responses_spec(w.study, w.band, source)) for source in sources(w.study, w.protocol, w.subject)
        ],
        "features": expected(features_spec(w.study, method.tower)),
    }
    return spec("train", "brain2clip.training.train", values, expects)


# ------------------------------------------------------------------------------------------- rank


def run_columns(w):
    return {
        "study": w.study,
        "band": w.band,
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
        "retrieval": dump(CONFIG.retrieval),
    }
    expects = {
        "responses": expected(responses_spec(w.study, w.band, w.subject)),
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
        **signal_settings(w.study, w.band),
        "retrieval": dump(CONFIG.retrieval),
    }
    expects = {
        "responses": expected(responses_spec(w.study, w.band, w.subject)),
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
        "protocols": {name: protocol.kind for name, protocol in CONFIG.protocols.items()},
        "methods": {name: method.label or name for name, method in CONFIG.methods.items()},
        "zero_shot": [name for name in studies_run() if asked(lambda: study_of(name).zero_shot)],
        "ceilings": sorted(name for name, method in CONFIG.methods.items() if method.kind == "ideal-observer"),
        "retrieval": dump(CONFIG.retrieval),
    }
    made = [{"origin": origin(retrieval_spec(run))} for run in runs()]
    return spec("tables", "brain2clip.reporting.tables", values, {"summary": made, "rows": made})


# ---------------------------------------------------------------------------------------- figures


#: Kinds of methods that are trained epoch by epoch.
LEARNING = ("contrastive", "mapping")


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
    """The experiment of a study with the most runs: its band, protocol and seed are those of figures of single runs."""
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
#: Stands for a study in the paths of figures that show an EEG and an fMRI study together.
BOTH = "both"


@cache
def mapped_runs(study):
    """Runs that predict embeddings of the joint space, of the largest experiment with such: first band, protocol, method."""
    able = {name for name, method in CONFIG.methods.items() if method.kind in JOINT_SPACE}
    experiment = largest_experiment(study, able)
    if experiment is None:
        return []
    ran = [name for name in experiment.methods if name in able]
    first = sorted(ran, key=lambda name: (name != CONFIG.figures.method, JOINT_SPACE.index(CONFIG.methods[name].kind)))
    wanted = (experiment.bands[0], experiment.protocols[0], *first[:1])
    return [run for run in runs_of(experiment) if run[1:4] == wanted]


@cache
def regions_experiment(study):
    """The experiment of a study with the most regions, then runs."""
    listed = [
        (len(one.bands), len(runs_of(one)), name) for name, one in CONFIG.experiments.items() if one.study == study
    ]
    return CONFIG.experiments[max(listed)[2]]


@cache
def regions_of(study):
    """Regions in the order of that experiment, then those of others."""
    others = [band for one in CONFIG.experiments.values() if one.study == study for band in sorted(one.bands)]
    return list(dict.fromkeys([*regions_experiment(study).bands, *sorted(others)]))


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
    if study == BOTH:
        return ["place"]
    trained = any(CONFIG.methods[name].kind in LEARNING for name in main_experiment(study).methods)
    return [
        *(["ranks"] if is_voxels(study) else ["erp", "spectra", "ranks"]),
        *(["training"] if trained else []),
        *(["gallery"] if "all" in CONFIG.retrieval.repetitions and "stimulus" in CONFIG.retrieval.tasks else []),
        # A handful of categories is no bank.
        *(["reconstruction"] if mapped_runs(study) and not getattr(CONFIG.studies[study], "categories", None) else []),
        *(["regions"] if is_voxels(study) and len(regions_of(study)) > 1 and shows_accuracy() else []),
        *(["gains", "prompts"] if shown_method(study) in neuroclip_methods() else []),
    ]


def figure_files():
    return [f"{RESULTS}/figures/{study}/{figure}.svg" for study in figure_studies() for figure in figures_of(study)]


def made_files(folder, chosen, ending, spec_of):
    """Files of runs, each with the spec that makes it."""
    return {f"{RESULTS}/{folder}/{run.path}{ending}": spec_of(run) for run in chosen}


def responses_files(study, bands):
    return {
        f"{RESULTS}/responses/{study}/{band}/sub-{subject}.h5": responses_spec(study, band, subject)
        for band in bands
        for subject in subjects_of(study)
    }


def stimuli_file(study, method):
    tower = CONFIG.methods[method].tower
    return {f"{RESULTS}/stimuli/{study}/{tower}.h5": features_spec(study, tower)}


def place_inputs():
    """The first band of the EEG study, and all regions of the fMRI study by its shown method."""
    eeg, fmri = both_studies()
    chosen = region_runs(fmri)
    methods = [name for name in regions_experiment(fmri).methods if CONFIG.methods[name].kind != "ideal-observer"]
    method = shown_method(fmri) if shown_method(fmri) in methods else methods[0]
    rows = made_files("retrieval", [run for run in chosen if run.method == method], ".parquet", retrieval_spec)
    return {"responses": responses_files(eeg, main_experiment(eeg).bands[:1]), "rows": rows}


def figure_inputs(w):
    """Inputs of a figure: name to paths, each with the spec that makes it."""
    if w.study == BOTH:
        return place_inputs()
    experiment = main_experiment(w.study)
    stimuli = stimuli_file(w.study, shown_method(w.study))
    main = [run for run in runs_of(experiment) if run.band == experiment.bands[0]]
    wanted = (experiment.protocols[0], shown_method(w.study))
    shown = [run for run in main if (run.protocol, run.method) == wanted]
    trained = list(dict.fromkeys(model_of(run) for run in main if CONFIG.methods[run.method].kind in LEARNING))
    mapped = mapped_runs(w.study)[:1]
    bands = sorted({run.band for run in runs() if run.study == w.study})
    named = {
        "erp": lambda: {"responses": responses_files(w.study, experiment.bands[:1])},
        "spectra": lambda: {"responses": responses_files(w.study, bands)},
        "training": lambda: {"history": made_files("training", trained, ".history.parquet", train_spec)},
        "ranks": lambda: {"rows": made_files("retrieval", main, ".parquet", retrieval_spec)},
        "gallery": lambda: {"rows": made_files("retrieval", shown[:1], ".parquet", retrieval_spec), "stimuli": stimuli},
        "reconstruction": lambda: {
            "embeddings": made_files("retrieval", mapped, ".embeddings.h5", embed_spec),
            "stimuli": stimuli_file(w.study, mapped[0].method),
        },
        "regions": lambda: {"rows": made_files("retrieval", region_runs(w.study), ".parquet", retrieval_spec)},
        "gains": lambda: {"gains": made_files("retrieval", shown, ".gains.parquet", inspect_spec), "stimuli": stimuli},
        "prompts": lambda: {"prompts": made_files("retrieval", shown, ".prompts.parquet", inspect_spec)},
    }
    return named[w.figure]()


def figures_spec(w):
    values = {
        "figures": dump(CONFIG.figures),
        "methods": {name: method.label or name for name, method in CONFIG.methods.items()},
        "study": w.study,
    }
    if w.figure in ("regions", "place"):
        values["rois"] = regions_of(both_studies()[1] if w.study == BOTH else w.study)
        values["retrieval"] = {name: getattr(CONFIG.retrieval, name) for name in ("bootstrap", "level", "seed")}
    expects = {
        name: [{"origin": origin(maker)} for maker in makers.values()] for name, makers in figure_inputs(w).items()
    }
    return spec("figures", "brain2clip.reporting.figures", values, expects)
