# Frozen CLIP features of the stimuli, once per study and tower.
rule features:
    input:
        stimuli=lambda w: asked(lambda: study_of(w.study).stimulus_files()),
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
        given=lambda w, input: [f"table={path}" for path in input.stimuli]
        + [f"weights={path}" for path in input.weights]
        + ([f"ready={input.ready}"] if input.ready else []),
    message:
        "CLIP features of {wildcards.study}, tower {wildcards.tower}"
    shell:
        'for given in {params.given:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.stimuli.features --spec {params.spec:q} "$@"'
        " --output stimuli={output.stimuli:q} > {log:q} 2>&1"
