# Responses in the formats that other projects read; `exports` in the configuration asks for them.
rule export:
    input:
        unpack(asked(lambda w: files(PLAN.export_job("nice", w.study, w.signal, w.subject)))),
    output:
        **dict(zip(("training", "test"), PLAN.export("nice", "{study}", "{signal}", "{subject}"))),
    log:
        f"{RESULTS}/logs/export/nice/{{study}}/{{signal}}/sub-{{subject}}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(7000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.export_job("nice", w.study, w.signal, w.subject).spec.json),
        given=by_name,
    message:
        "Export responses of {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}"
    shell:
        "python -m brain2clip.responses.export --spec {params.spec:q} --input {params.given:q}"
        " --output training={output.training:q} --output test={output.test:q} > {log:q} 2>&1"


use rule export as export_ubp with:
    input:
        unpack(asked(lambda w: files(PLAN.export_job("ubp", w.study, w.signal, w.subject)))),
    output:
        **dict(zip(("training", "test"), PLAN.export("ubp", "{study}", "{signal}", "{subject}"))),
    log:
        f"{RESULTS}/logs/export/ubp/{{study}}/{{signal}}/sub-{{subject}}.log",
    params:
        spec=asked(lambda w: PLAN.export_job("ubp", w.study, w.signal, w.subject).spec.json),
        given=by_name,
