# Figures of a study, one job each, from the artefacts that each shows.
rule figures:
    input:
        lambda w: [path for paths in figure_inputs(w).values() for path in paths],
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
        mem_mb=lambda w, attempt: attempt * 2000,
        runtime=lambda w, attempt: attempt * 15,
    params:
        spec=lambda w: settings.canonical(figures_spec(w)),
        given=lambda w: [f"{name}={path}" for name, paths in figure_inputs(w).items() for path in paths],
    message:
        "Figure {wildcards.figure} of {wildcards.study}"
    shell:
        # By a file, as for tables.
        "( printf '%s\\n' --spec {params.spec:q} --output figure={output.figure:q};"
        " echo --input; printf '%s\\n' {params.given:q} )"
        " | python -m brain2clip.reporting.figures @/dev/stdin > {log:q} 2>&1"
