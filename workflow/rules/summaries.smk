# Metrics with intervals from the rows of all runs of a method: no model and no ranking.
rule summaries:
    input:
        rows=lambda w: results("retrieval", summaries()[w.study, w.signal, w.protocol, w.method], ".parquet"),
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
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 10,
    params:
        spec=lambda w: settings.canonical(summaries_spec(w.study, w.signal, w.protocol, w.method)),
    message:
        "Summaries of {wildcards.method} ({wildcards.protocol}) for {wildcards.study}, signal {wildcards.signal}"
    shell:
        # By a file, as for tables.
        "( printf '%s\\n' --spec {params.spec:q} --output summary={output.summary:q};"
        " echo --input; printf 'rows=%s\\n' {input.rows:q} )"
        " | python -m brain2clip.retrieval.summaries @/dev/stdin > {log:q} 2>&1"
