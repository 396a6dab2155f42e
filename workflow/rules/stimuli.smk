# The stimuli of a study: their table, their frozen CLIP features, once per tower, and further vectors that methods read.
rule catalogue:
    input:
        unpack(asked(lambda w: files(PLAN.catalogue_job(w.study)))),
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
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.catalogue_job(w.study).spec.json),
        given=by_name,
    message:
        "Stimuli of {wildcards.study}"
    shell:
        "python -m brain2clip.stimuli.catalogue --spec {params.spec:q} --input {params.given:q}"
        " --output catalogue={output.catalogue:q} > {log:q} 2>&1"


rule features:
    input:
        unpack(asked(lambda w: files(PLAN.features_job(w.study, w.tower)))),
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
        mem_mb=growing(6000),
        runtime=growing(120),
        gpu=1,
    params:
        spec=asked(lambda w: PLAN.features_job(w.study, w.tower).spec.json),
        given=by_name,
    message:
        "CLIP features of {wildcards.study}, tower {wildcards.tower}"
    shell:
        "python -m brain2clip.stimuli.features --spec {params.spec:q} --input {params.given:q}"
        " --output stimuli={output.stimuli:q} > {log:q} 2>&1"


rule vectors:
    input:
        unpack(asked(lambda w: files(PLAN.vectors_job(w.study, w.tower, w.vector)))),
    output:
        vectors=f"{RESULTS}/vectors/{{study}}/{{tower}}/{{vector}}.h5",
    log:
        f"{RESULTS}/logs/vectors/{{study}}/{{tower}}/{{vector}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/vectors/{{study}}/{{tower}}/{{vector}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
        gpu=1,
    params:
        spec=asked(lambda w: PLAN.vectors_job(w.study, w.tower, w.vector).spec.json),
        given=by_name,
    message:
        "Vectors {wildcards.vector} of {wildcards.study}, tower {wildcards.tower}"
    shell:
        "python -m brain2clip.stimuli.vectors --spec {params.spec:q} --input {params.given:q}"
        " --output vectors={output.vectors:q} > {log:q} 2>&1"
