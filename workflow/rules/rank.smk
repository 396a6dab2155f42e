# The only reader of test trials: candidates ranked for every test response, and what the prompts do to them;
# and the predicted embeddings, for what shows or draws pictures from them.
rule rank:
    input:
        responses=f"{RESULTS}/responses/{{study}}/{{signal}}/sub-{{subject}}.h5",
        stimuli=tower_of,
        checkpoint=checkpoint_of,
    output:
        rows=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/rank/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/rank/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=methods_of_kind("contrastive", "mapping", "ridge"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 10,
    params:
        spec=lambda w: settings.canonical(rank_spec(w)),
    message:
        "Rank candidates with {wildcards.method} ({wildcards.protocol}) for {wildcards.study} sub-{wildcards.subject}, signal {wildcards.signal}, seed {wildcards.seed}"
    shell:
        "python -m brain2clip.retrieval.rank --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input checkpoint={input.checkpoint:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule ceiling:
    input:
        responses=rules.rank.input.responses,
        stimuli=tower_of,
        truth=rules.simulate_recordings.output.truth,
    output:
        rows=rules.rank.output.rows,
    log:
        f"{RESULTS}/logs/ceiling/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/ceiling/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        study=studies_of("simulated", "simulated_fmri"),
        method=methods_of_kind("ideal-observer"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 10,
    params:
        spec=lambda w: settings.canonical(ceiling_spec(w)),
    message:
        "Ideal observer for {wildcards.study} sub-{wildcards.subject}, signal {wildcards.signal}"
    shell:
        "python -m brain2clip.retrieval.ceiling --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input truth={input.truth:q}"
        " --output rows={output.rows:q} > {log:q} 2>&1"


rule inspect:
    input:
        responses=rules.rank.input.responses,
        stimuli=tower_of,
        checkpoint=checkpoint_of,
    output:
        gains=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.gains.parquet",
        prompts=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.prompts.parquet",
    log:
        f"{RESULTS}/logs/inspect/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/inspect/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method="|".join(neuroclip_methods()) or "(?!)",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 10,
    params:
        spec=lambda w: settings.canonical(inspect_spec(w)),
    message:
        "Look into the prompts of {wildcards.method} for {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.retrieval.inspect --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input checkpoint={input.checkpoint:q}"
        " --output gains={output.gains:q} --output prompts={output.prompts:q} > {log:q} 2>&1"


rule embed:
    input:
        responses=rules.rank.input.responses,
        stimuli=tower_of,
        checkpoint=checkpoint_of,
    output:
        embeddings=f"{RESULTS}/retrieval/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.embeddings.h5",
    log:
        f"{RESULTS}/logs/embed/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embed/{{study}}/{{signal}}/{{protocol}}/{{method}}/sub-{{subject}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method=methods_of_kind(*JOINT_SPACE),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 10,
    params:
        spec=lambda w: settings.canonical(embed_spec(w)),
    message:
        "Predicted embeddings of {wildcards.method} for {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.retrieval.embed --spec {params.spec:q} --input responses={input.responses:q}"
        " --input stimuli={input.stimuli:q} --input checkpoint={input.checkpoint:q}"
        " --output embeddings={output.embeddings:q} > {log:q} 2>&1"
