# All tables of the report, from the retrieval artefacts.
rule tables:
    input:
        summary=[f"{RESULTS}/summaries/{'/'.join(block)}.parquet" for block in summaries()],
        rows=results("retrieval", runs(), ".parquet"),
        published=sorted(str(path) for path in Path("workflow/published").glob("*.csv")),
    output:
        summary=f"{RESULTS}/tables/summary.parquet",
        tables=report(
            table_files()[1:],
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
        mem_mb=lambda w, attempt: attempt * 4000,
        runtime=lambda w, attempt: attempt * 30,
    params:
        spec=settings.canonical(tables_spec()),
    message:
        "Tables"
    shell:
        # By a file, one argument per line: those of thousands of models are more than a command takes.
        "( printf '%s\\n' --spec {params.spec:q} --output summary={output.summary:q};"
        " echo --input; printf 'summary=%s\\n' {input.summary:q}; printf 'rows=%s\\n' {input.rows:q};"
        " for given in {input.published:q}; do printf 'published=%s\\n' \"$given\"; done;"
        ' for given in {output.tables:q}; do printf -- "--output\\n$(basename "$given")=%s\\n" "$given"; done )'
        " | python -m brain2clip.reporting.tables @/dev/stdin > {log:q} 2>&1"
