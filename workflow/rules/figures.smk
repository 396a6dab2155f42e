# Figures of a study, one job each, from the artefacts that each shows.
rule figures:
    input:
        unpack(asked(lambda w: files(PLAN.figures_job(w.study, w.figure)))),
    output:
        figure=report(
            f"{RESULTS}/figures/{{study}}/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{study}",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{RESULTS}/logs/figures/{{study}}/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{study}}/{{figure}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(15),
    params:
        spec=asked(lambda w: PLAN.figures_job(w.study, w.figure).spec.json),
        given=by_name,
    message:
        "Figure {wildcards.figure} of {wildcards.study}"
    shell:
        # By a file, as for tables.
        "( printf '%s\\n' --spec {params.spec:q} --output figure={output.figure:q} --input;"
        " printf '%s\\n' {params.given:q} )"
        " | python -m brain2clip.reporting.figures @/dev/stdin > {log:q} 2>&1"
