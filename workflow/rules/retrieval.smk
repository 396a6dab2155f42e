# The only readers of test trials: candidates ranked for every test response, by models or by an ideal observer; what the
# prompts do; predicted embeddings, for what shows or draws pictures from them; accuracy over time. Then metrics.
rule rank:
    input:
        unpack(asked(lambda w: files(PLAN.rank_job(PLAN.run(w))))),
    output:
        rows=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/rank/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/rank/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=either(PLAN.methods(trained=True)),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.rank_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Rank candidates with {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.retrieval.rank --spec {params.spec:q} --input {params.given:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule ceiling:
    input:
        unpack(asked(lambda w: files(PLAN.rank_job(PLAN.run(w))))),
    output:
        rows=rules.rank.output.rows,
    log:
        f"{RESULTS}/logs/ceiling/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/ceiling/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        study=either(PLAN.simulated_studies()),
        method=either(PLAN.methods(ranked_by="ceiling")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.rank_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Ideal observer for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}"
    shell:
        "python -m brain2clip.retrieval.ceiling --spec {params.spec:q} --input {params.given:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule imported:
    input:
        unpack(asked(lambda w: files(PLAN.rank_job(PLAN.run(w))))),
    output:
        rows=rules.rank.output.rows,
    log:
        f"{RESULTS}/logs/imported/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/imported/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=either(PLAN.methods(ranked_by="imported")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.rank_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Ranks that were made elsewhere: {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.retrieval.imported --spec {params.spec:q} --input {params.given:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule apply:
    input:
        unpack(asked(lambda w: files(PLAN.apply_job(PLAN.application(w))))),
    output:
        rows=f"{RESULTS}/apply/{{apply}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/apply/{{apply}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/apply/{{apply}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.apply_job(PLAN.application(w)).spec.json),
        given=by_name,
    message:
        "Rank new recordings with {wildcards.method} ({wildcards.protocol}): {wildcards.apply}, sub-{wildcards.subject}, {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.retrieval.apply --spec {params.spec:q} --input {params.given:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule inspect:
    input:
        unpack(asked(lambda w: files(PLAN.inspect_job(PLAN.run(w))))),
    output:
        gains=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.gains.parquet",
        prompts=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.prompts.parquet",
    log:
        f"{RESULTS}/logs/inspect/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/inspect/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=either(PLAN.methods(prompted=True)),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.inspect_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Look into the prompts of {wildcards.method} for {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.retrieval.inspect --spec {params.spec:q} --input {params.given:q}"
        " --output gains={output.gains:q} --output prompts={output.prompts:q} > {log:q} 2>&1"


rule embed:
    input:
        unpack(asked(lambda w: files(PLAN.embed_job(PLAN.run(w))))),
    output:
        embeddings=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.embeddings.h5",
    log:
        f"{RESULTS}/logs/embed/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embed/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=either(PLAN.methods(joint_space=True)),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.embed_job(PLAN.run(w)).spec.json),
        given=by_name,
    message:
        "Predicted embeddings of {wildcards.method} for {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.retrieval.embed --spec {params.spec:q} --input {params.given:q}"
        " --output embeddings={output.embeddings:q} > {log:q} 2>&1"


rule timecourse:
    input:
        unpack(asked(lambda w: files(PLAN.timecourse_job(w.study, w.signal, w.subject)))),
    output:
        rows=f"{RESULTS}/timecourse/{{study}}/{{signal}}/sub-{{subject}}.parquet",
    log:
        f"{RESULTS}/logs/timecourse/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/timecourse/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        spec=asked(lambda w: PLAN.timecourse_job(w.study, w.signal, w.subject).spec.json),
        given=by_name,
    message:
        "Accuracy over time of {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}"
    shell:
        "python -m brain2clip.retrieval.timecourse --spec {params.spec:q} --input {params.given:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule summaries:
    input:
        unpack(asked(lambda w: files(PLAN.summaries_job(f"{w.study}/{w.signal}/{w.protocol}/{w.method}")))),
    output:
        summary=f"{RESULTS}/summaries/{{study}}/{{signal}}/{{protocol}}/{{method}}.parquet",
    log:
        f"{RESULTS}/logs/summaries/{{study}}/{{signal}}/{{protocol}}/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/summaries/{{study}}/{{signal}}/{{protocol}}/{{method}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        spec=asked(lambda w: PLAN.summaries_job(f"{w.study}/{w.signal}/{w.protocol}/{w.method}").spec.json),
        given=by_name,
    message:
        "Metrics of {wildcards.method} ({wildcards.protocol}) for {wildcards.study}, {wildcards.signal}"
    shell:
        "python -m brain2clip.retrieval.summaries --spec {params.spec:q} --input {params.given:q}"
        " --output summary={output.summary:q} > {log:q} 2>&1"
