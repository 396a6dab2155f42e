# The results page of the configuration, from its tables and retrieval rows.
rule page:
    input:
        unpack(asked(lambda w: files(PLAN.page_job()))),
    output:
        PLAN.page(),
    log:
        f"{RESULTS}/logs/page.log",
    benchmark:
        f"{RESULTS}/benchmarks/page.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.page_job().spec.json),
        given=by_name,
        made=asked(lambda w, output: [f"{path.removeprefix(f'{RESULTS}/page/')}={path}" for path in output]),
    message:
        "Results page"
    shell:
        # By a file, as for tables.
        "( printf '%s\\n' --spec {params.spec:q} --output {params.made:q} --input {params.given:q} )"
        " | python -m brain2clip.reporting.page @/dev/stdin > {log:q} 2>&1"
