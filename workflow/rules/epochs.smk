# Recordings to single-trial brain responses, one file per subject and band.
rule epochs:
    input:
        recordings=lambda w: asked(lambda: study_of(w.study).files(w.subject)),
        stimuli=lambda w: asked(lambda: study_of(w.study).label_files()),
    output:
        responses=f"{RESULTS}/responses/{{study}}/{{band}}/sub-{{subject}}.h5",
    log:
        f"{RESULTS}/logs/epochs/{{study}}/{{band}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/epochs/{{study}}/{{band}}/sub-{{subject}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 60,
    params:
        spec=lambda w: settings.canonical(epochs_spec(w.study, w.band, w.subject)),
        recordings=lambda w, input: [f"recordings={path}" for path in input.recordings],
        stimuli=lambda w, input: [f"stimuli={path}" for path in input.stimuli],
    message:
        "Brain responses of {wildcards.study} sub-{wildcards.subject}, band {wildcards.band}"
    shell:
        'for given in {params.recordings:q} {params.stimuli:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.responses.epochs --spec {params.spec:q} "$@"'
        " --output responses={output.responses:q} > {log:q} 2>&1"
