# Recordings to single-trial brain responses, one file per subject and band.
rule epochs:
    input:
        recordings=lambda w: asked(lambda: study_of(w.study).files(w.subject)),
        stimuli=lambda w: guarded(asked(lambda: study_of(w.study).label_files()), labels_of(w.study)),
    output:
        responses=f"{RESULTS}/responses/{{study}}/{{signal}}/sub-{{subject}}.h5",
    log:
        f"{RESULTS}/logs/epochs/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/epochs/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=f"(?!({preprocessed()}|{voxel_studies()})/)[A-Za-z0-9-]+",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 60,
    params:
        spec=lambda w: settings.canonical(epochs_spec(w.study, w.signal, w.subject)),
        recordings=lambda w, input: [f"recordings={path}" for path in input.recordings],
        # A digest in the spec stands for labels that a user may edit: what else is in their table does not count.
        stimuli=lambda w, input: [f"stimuli={path}" for path in input.stimuli if not labels_of(w.study)],
    message:
        "Brain responses of {wildcards.study} sub-{wildcards.subject}, signal {wildcards.signal}"
    shell:
        'for given in {params.recordings:q} {params.stimuli:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.responses.epochs --spec {params.spec:q} "$@"'
        " --output responses={output.responses:q} > {log:q} 2>&1"


# The same artefact from epochs that the authors of the dataset made. What they cannot be asked for is refused before an
# archive is downloaded.
for one in CONFIG.experiments.values():
    if getattr(CONFIG.studies[one.study], "source", "raw") == "preprocessed":
        from brain2clip.responses.preprocessed import refuse  # imports pandas: only where there is such a study

        block = CONFIG.studies[one.study]
        for band in one.signals:
            asked(lambda: refuse(one.study, dump(block), CONFIG.bands[band], block.responses))


rule preprocessed:
    input:
        record=lambda w: asked(lambda: study_of(w.study).files(w.subject)),
        stimuli=lambda w: asked(lambda: study_of(w.study).label_files()),
    output:
        responses=rules.epochs.output.responses,
    log:
        f"{RESULTS}/logs/preprocessed/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/preprocessed/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=preprocessed(),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 6000,
        runtime=lambda w, attempt: attempt * 30,
    params:
        spec=lambda w: settings.canonical(preprocessed_spec(w.study, w.signal, w.subject)),
    message:
        "The authors' epochs of {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.responses.preprocessed --spec {params.spec:q} --input record={input.record:q}"
        " --input stimuli={input.stimuli:q} --output responses={output.responses:q} > {log:q} 2>&1"
