# The table of stimuli of a study, and their frozen CLIP features, once per study and tower.
rule catalogue:
    input:
        stimuli=lambda w: guarded(asked(lambda: study_of(w.study).stimulus_files()), digest_of(w.study)),
    output:
        catalogue=f"{RESULTS}/catalogue/{{study}}.parquet",
    log:
        f"{RESULTS}/logs/catalogue/{{study}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/catalogue/{{study}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 2000,
        runtime=lambda w, attempt: attempt * 30,
    params:
        spec=lambda w: settings.canonical(catalogue_spec(w.study)),
        given=lambda w, input: [f"stimuli={path}" for path in input.stimuli],
    message:
        "Table of stimuli of {wildcards.study}"
    shell:
        'for given in {params.given:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.stimuli.catalogue --spec {params.spec:q} "$@"'
        " --output catalogue={output.catalogue:q} > {log:q} 2>&1"


rule features:
    input:
        catalogue=f"{RESULTS}/catalogue/{{study}}.parquet",
        weights=lambda w: weights_of(w.tower),
        ready=lambda w: ready_features(w.study, w.tower) or [],
    output:
        stimuli=f"{RESULTS}/stimuli/{{study}}/{{tower}}.h5",
    log:
        f"{RESULTS}/logs/features/{{study}}/{{tower}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/features/{{study}}/{{tower}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=lambda w, attempt: attempt * 6000,
        runtime=lambda w, attempt: attempt * 120,
        gpu=1,
    params:
        spec=lambda w: settings.canonical(features_spec(w.study, w.tower)),
        given=lambda w, input: [f"weights={path}" for path in input.weights]
        + ([f"ready={input.ready}"] if input.ready else []),
    message:
        "CLIP features of {wildcards.study}, tower {wildcards.tower}"
    shell:
        'for given in {params.given:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.stimuli.features --spec {params.spec:q} --input catalogue={input.catalogue:q} "$@"'
        " --output stimuli={output.stimuli:q} > {log:q} 2>&1"
