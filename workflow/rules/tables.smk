# All tables of the report, from the retrieval artefacts.
rule tables:
    input:
        unpack(asked(lambda w: files(PLAN.tables_job()))),
    output:
        summary=f"{RESULTS}/tables/summary.parquet",
        tables=report(
            PLAN.tables()[1:],
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.tables_job().spec.json),
        history=asked(lambda w: PLAN.tables_job().inputs.get("history", [])),
        judged=asked(lambda w: PLAN.tables_job().inputs.get("judged", [])),
        made=asked(lambda w, output: [f"{Path(path).name}={path}" for path in output.tables]),
    message:
        "Tables"
    shell:
        # By a file, one argument per line: those of thousands of models are more than a command takes.
        "( printf '%s\\n' --spec {params.spec:q} --output summary={output.summary:q} {params.made:q} --input;"
        " printf 'summary=%s\\n' {input.summary:q}; printf 'rows=%s\\n' {input.rows:q};"
        " for given in {input.published:q}; do printf 'published=%s\\n' \"$given\"; done;"
        " for given in {params.history:q}; do printf 'history=%s\\n' \"$given\"; done;"
        " for given in {params.judged:q}; do printf 'judged=%s\\n' \"$given\"; done )"
        " | python -m brain2clip.reporting.tables @/dev/stdin > {log:q} 2>&1"
