# Pictures of what brains predict: points of the tower's raw space, what a generator makes of them, and how the pictures
# compare with those that were seen, with the nearest of the training bank, with a perfect prediction, and with chance.
rule calibrate:
    input:
        unpack(asked(lambda w: files(PLAN.calibrate_job(PLAN.run(w))))),
    output:
        calibration=f"{RESULTS}/calibrate/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.safetensors",
    log:
        f"{RESULTS}/logs/calibrate/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/calibrate/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=either(PLAN.methods(points="calibrated")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=asked(lambda w: int(PLAN.calibrate_job(PLAN.run(w)).on_gpu)),
    params:
        spec=asked(lambda w: PLAN.calibrate_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Calibrate predictions of {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.training.calibrate --spec {params.spec:q} --input {params.given:q}"
        " --output calibration={output.calibration:q} > {log:q} 2>&1"


rule negative:
    input:
        unpack(asked(lambda w: files(PLAN.negative_job(w.tower)))),
    output:
        negative=f"{RESULTS}/negative/{{tower}}.h5",
    log:
        f"{RESULTS}/logs/negative/{{tower}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/negative/{{tower}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(20),
    params:
        spec=asked(lambda w: PLAN.negative_job(w.tower).spec.json),
        given=by_name,
    message:
        "Embedding of an empty picture, tower {wildcards.tower}"
    shell:
        "python -m brain2clip.generation.negative --spec {params.spec:q} --input {params.given:q}"
        " --output negative={output.negative:q} > {log:q} 2>&1"


rule generate:
    input:
        unpack(asked(lambda w: files(PLAN.generate_job(*PLAN.picturing(w))))),
    output:
        pictures=f"{RESULTS}/generate/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.{{generator}}.h5",
    log:
        f"{RESULTS}/logs/generate/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.{{generator}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=1,
    params:
        spec=asked(lambda w: PLAN.generate_job(*PLAN.picturing(w)).spec.json),
        given=by_name,
    message:
        "Pictures by {wildcards.generator} of {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.generation.generate --spec {params.spec:q} --input {params.given:q}"
        " --output pictures={output.pictures:q} > {log:q} 2>&1"


rule oracle:
    input:
        unpack(asked(lambda w: files(PLAN.oracle_job(w.study, w.generator)))),
    output:
        pictures=f"{RESULTS}/oracle/{{study}}/{{generator}}.h5",
    log:
        f"{RESULTS}/logs/oracle/{{study}}/{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/oracle/{{study}}/{{generator}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=1,
    params:
        spec=asked(lambda w: PLAN.oracle_job(w.study, w.generator).spec.json),
        given=by_name,
    message:
        "Pictures by {wildcards.generator} of the test pictures' own embeddings, {wildcards.study}"
    shell:
        "python -m brain2clip.generation.oracle --spec {params.spec:q} --input {params.given:q}"
        " --output pictures={output.pictures:q} > {log:q} 2>&1"


rule judge:
    input:
        unpack(asked(lambda w: files(PLAN.judge_job(*PLAN.picturing(w))))),
    output:
        judged=f"{RESULTS}/judge/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.{{generator}}.parquet",
    log:
        f"{RESULTS}/logs/judge/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.{{generator}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/judge/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.{{generator}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=asked(lambda w: int(PLAN.judge_job(*PLAN.picturing(w)).on_gpu)),
    params:
        spec=asked(lambda w: PLAN.judge_job(*PLAN.picturing(w)).spec.json),
        given=by_name,
    message:
        "Compare pictures by {wildcards.generator} of {wildcards.method} for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.generation.judge --spec {params.spec:q} --input {params.given:q}"
        " --output judged={output.judged:q} > {log:q} 2>&1"
