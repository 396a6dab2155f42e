# The only reader of test trials: candidates ranked for every test response, and what the prompts do to them.
def run_columns(w):
    return {
        "study": w.study,
        "band": w.band,
        "protocol": w.protocol,
        "method": w.method,
        "subject": w.subject,
        "seed": int(w.seed),
    }


def rank_spec(w):
    trained = train_spec(w)
    values = {
        "run": run_columns(w),
        "method": trained["settings"]["method"],
        "tower": trained["settings"]["tower"],
        "retrieval": dump(CONFIG.retrieval),
    }
    expects = {
        "epochs": expected(epochs_spec(w.study, w.band, w.subject)),
        "features": trained["expects"]["features"],
        "train": expected(trained),
    }
    return spec("rank", "brain2clip.retrieval.rank", values, expects)


def inspect_spec(w):
    ranked = rank_spec(w)
    values = {key: ranked["settings"][key] for key in ("run", "method", "tower")}
    return spec("inspect", "brain2clip.retrieval.inspect", values, ranked["expects"])


def ceiling_spec(w):
    tower = CONFIG.methods[w.method].tower
    values = {
        "run": run_columns(w),
        "name": w.study,
        "study": study_settings(w.study),
        "responses": dump(CONFIG.studies[w.study].responses),
        "band": dump(CONFIG.bands[w.band]),
        "retrieval": dump(CONFIG.retrieval),
        "results": RESULTS,
    }
    expects = {
        "epochs": expected(epochs_spec(w.study, w.band, w.subject)),
        "features": expected(features_spec(w.study, tower)),
        "simulate_recordings": expected(simulate_recordings_spec(w.study, w.subject)),
    }
    return spec("ceiling", "brain2clip.retrieval.ceiling", values, expects, extra=(study_module(w.study),))


def tower_of(w):
    return f"{RESULTS}/stimuli/{w.study}/{CONFIG.methods[w.method].tower}.h5"


rule rank:
    input:
        responses=f"{RESULTS}/responses/{{study}}/{{band}}/sub-{{subject}}.h5",
        stimuli=tower_of,
        checkpoint=rules.train.output.checkpoint,
    output:
        rows=f"{RESULTS}/retrieval/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.parquet",
        summary=f"{RESULTS}/retrieval/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.summary.parquet",
    wildcard_constraints:
        method=methods_of_kind("contrastive", "ridge"),
    params:
        spec=lambda w: settings.canonical(rank_spec(w)),
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 8000,
        runtime=lambda w, attempt: attempt * 30,
    log:
        f"{RESULTS}/logs/rank/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/rank/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    message:
        "Rank candidates with {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, band {wildcards.band}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.retrieval.rank --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input checkpoint={input.checkpoint:q}"
        " --output rows={output.rows:q} --output summary={output.summary:q} > {log:q} 2>&1"


rule ceiling:
    input:
        responses=rules.rank.input.responses,
        stimuli=tower_of,
        truth=rules.simulate_recordings.output.truth,
    output:
        rows=rules.rank.output.rows,
        summary=rules.rank.output.summary,
    wildcard_constraints:
        method=methods_of_kind("ideal-observer"),
    params:
        spec=lambda w: settings.canonical(ceiling_spec(w)),
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 6000,
        runtime=lambda w, attempt: attempt * 30,
    log:
        f"{RESULTS}/logs/ceiling/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/ceiling/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    message:
        "Ideal observer for {wildcards.study} sub-{wildcards.subject}, band {wildcards.band}"
    shell:
        "python -m brain2clip.retrieval.ceiling --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input truth={input.truth:q}"
        " --output rows={output.rows:q} --output summary={output.summary:q} > {log:q} 2>&1"


rule inspect:
    input:
        responses=rules.rank.input.responses,
        stimuli=tower_of,
        checkpoint=rules.train.output.checkpoint,
    output:
        gains=f"{RESULTS}/retrieval/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.gains.parquet",
        prompts=f"{RESULTS}/retrieval/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.prompts.parquet",
    wildcard_constraints:
        method=methods_of_kind("contrastive"),
    params:
        spec=lambda w: settings.canonical(inspect_spec(w)),
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 8000,
        runtime=lambda w, attempt: attempt * 30,
    log:
        f"{RESULTS}/logs/inspect/{{study}}/{{band}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    message:
        "Look into the prompts of {wildcards.method} for {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.retrieval.inspect --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input checkpoint={input.checkpoint:q}"
        " --output gains={output.gains:q} --output prompts={output.prompts:q} > {log:q} 2>&1"
