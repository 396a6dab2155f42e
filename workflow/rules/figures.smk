# Figures of a study, one job each, so that each depends only on what it shows.
def first_experiment(study):
    """The first experiment of a study: its band, protocol and seed are those of the figures of single runs."""
    return next(experiment for experiment in CONFIG.experiments.values() if experiment.study == study)


def shown_method(study):
    """Method of gallery, gains and prompts: the named one where it was run, else the first NeuroCLIP, else the first."""
    ran = first_experiment(study).methods
    if CONFIG.figures.method in ran:
        return CONFIG.figures.method
    return next((name for name in ran if name in neuroclip_methods()), ran[0])


def figures_of(study):
    names = ["erp", "spectra", "training", "ranks", "gallery"]
    return names + (["gains", "prompts"] if shown_method(study) in neuroclip_methods() else [])


def figure_files():
    return [f"{RESULTS}/figures/{study}/{figure}.svg" for study in studies_run() for figure in figures_of(study)]


def responses_of(study, bands):
    return [f"{RESULTS}/responses/{study}/{band}/sub-{subject}.h5" for band in bands for subject in subjects_of(study)]


def figure_inputs(w):
    """Named inputs of a figure, as NAME=PATH."""
    experiment = first_experiment(w.study)
    stimuli = f"{RESULTS}/stimuli/{w.study}/{CONFIG.methods[shown_method(w.study)].tower}.h5"
    bands = list(dict.fromkeys(b for e in CONFIG.experiments.values() if e.study == w.study for b in e.bands))
    main = [run for run in runs_of(experiment) if run.split("/")[1] == experiment.bands[0]]
    shown = [run for run in main if run.split("/")[2:4] == [experiment.protocols[0], shown_method(w.study)]]
    trained = [run for run in main if CONFIG.methods[run.split("/")[3]].kind == "contrastive"]
    named = {
        "erp": {"responses": responses_of(w.study, bands[:1])},
        "spectra": {"responses": responses_of(w.study, bands)},
        "training": {"history": results("training", trained, ".history.parquet")},
        "ranks": {"rows": results("retrieval", main, ".parquet")},
        "gallery": {"rows": results("retrieval", shown[:1], ".parquet"), "stimuli": [stimuli]},
        "gains": {"gains": results("retrieval", shown, ".gains.parquet"), "stimuli": [stimuli]},
        "prompts": {"prompts": results("retrieval", shown, ".prompts.parquet"), "stimuli": [stimuli]},
    }
    return named[w.figure]


def figures_spec(w):
    values = {
        "figures": dump(CONFIG.figures),
        "methods": {name: method.label or name for name, method in CONFIG.methods.items()},
        "study": w.study,
    }
    return spec("figures", "brain2clip.reporting.figures", values)


rule figures:
    input:
        lambda w: [path for paths in figure_inputs(w).values() for path in paths],
    output:
        figure=report(
            f"{RESULTS}/figures/{{study}}/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{study}",
            labels={"figure": "{figure}"},
        ),
    params:
        spec=lambda w: settings.canonical(figures_spec(w)),
        given=lambda w: [f"{name}={path}" for name, paths in figure_inputs(w).items() for path in paths],
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 2000,
        runtime=lambda w, attempt: attempt * 15,
    log:
        f"{RESULTS}/logs/figures/{{study}}/{{figure}}.log",
    message:
        "Figure {wildcards.figure} of {wildcards.study}"
    shell:
        "for given in {params.given:q}; do set -- \"$@\" --input \"$given\"; done;"
        " python -m brain2clip.reporting.figures --spec {params.spec:q} \"$@\""
        " --output {wildcards.figure}={output.figure:q} > {log:q} 2>&1"
