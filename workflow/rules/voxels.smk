# Voxel signals to single-trial brain responses, one file per subject and region.
rule voxels:
    input:
        signals=lambda w: asked(lambda: study_of(w.study).files(w.subject)),
        stimuli=lambda w: guarded(asked(lambda: study_of(w.study).label_files()), labels_of(w.study)),
    output:
        responses=rules.epochs.output.responses,
    log:
        f"{RESULTS}/logs/voxels/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/voxels/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=voxel_studies(),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 30,
    params:
        spec=lambda w: settings.canonical(voxels_spec(w.study, w.signal, w.subject)),
        signals=lambda w, input: [f"signals={path}" for path in input.signals],
        # A digest in the spec stands for labels that a user may edit: what else is in their table does not count.
        stimuli=lambda w, input: [f"stimuli={path}" for path in input.stimuli if not labels_of(w.study)],
    message:
        "Voxel responses of {wildcards.study} sub-{wildcards.subject}, region {wildcards.signal}"
    shell:
        'for given in {params.signals:q} {params.stimuli:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.responses.voxels --spec {params.spec:q} "$@"'
        " --output responses={output.responses:q} > {log:q} 2>&1"
