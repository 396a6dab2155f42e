# One model per subject, protocol, method and seed; training trials only.
rule train:
    input:
        unpack(asked(lambda w: files(PLAN.train_job(PLAN.run(w))))),
    output:
        checkpoint=f"{RESULTS}/training/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.safetensors",
        history=f"{RESULTS}/training/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.history.parquet",
    log:
        f"{RESULTS}/logs/train/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        protocol=other_than(PLAN.continuing()),
        method=either(PLAN.methods(trained=True)),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(16000),
        runtime=growing(120),
        gpu=asked(lambda w: int(PLAN.train_job(PLAN.run(w)).on_gpu)),
    params:
        spec=asked(lambda w: PLAN.train_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Train {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.training.train --spec {params.spec:q} --input {params.given:q}"
        " --output checkpoint={output.checkpoint:q} --output history={output.history:q} > {log:q} 2>&1"


# The joint model of all other subjects (protocol without-SUBJECT), trained on with the first sessions of a new one.
rule tune:
    input:
        unpack(asked(lambda w: files(PLAN.train_job(PLAN.run(w))))),
    output:
        checkpoint=rules.train.output.checkpoint,
        history=rules.train.output.history,
    log:
        f"{RESULTS}/logs/tune/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tune/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        protocol=either(PLAN.continuing()),
        method=either(PLAN.methods(trained=True)),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(16000),
        runtime=growing(120),
        gpu=asked(lambda w: int(PLAN.train_job(PLAN.run(w)).on_gpu)),
    params:
        spec=asked(lambda w: PLAN.train_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Train on {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.training.tune --spec {params.spec:q} --input {params.given:q}"
        " --output checkpoint={output.checkpoint:q} --output history={output.history:q} > {log:q} 2>&1"
