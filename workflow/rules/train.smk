# One model per subject, protocol, method and seed; training trials only.
rule train:
    input:
        responses=lambda w: expand(
            f"{RESULTS}/responses/{{study}}/{{signal}}/sub-{{source}}.h5",
            study=w.study,
            signal=w.signal,
            source=sources(w.study, w.protocol, w.subject),
        ),
        stimuli=lambda w: f"{RESULTS}/stimuli/{w.study}/{CONFIG.methods[w.method].tower}.h5",
    output:
        checkpoint=f"{RESULTS}/training/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.safetensors",
        history=f"{RESULTS}/training/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.history.parquet",
    log:
        f"{RESULTS}/logs/train/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=methods_of_kind("contrastive", "mapping", "ridge"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 16000,
        runtime=lambda w, attempt: attempt * 120,
        gpu=1,
    params:
        spec=lambda w: settings.canonical(train_spec(w)),
        responses=lambda w, input: [f"responses={path}" for path in input.responses],
    message:
        "Train {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, signal {wildcards.signal}, seed {wildcards.seed}"
    shell:
        'for given in {params.responses:q}; do set -- "$@" --input "$given"; done;'
        ' python -m brain2clip.training.train --spec {params.spec:q} "$@" --input stimuli={input.stimuli:q}'
        " --output checkpoint={output.checkpoint:q} --output history={output.history:q} > {log:q} 2>&1"
