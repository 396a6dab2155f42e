# Responses in the formats that other projects read; `exports` in the configuration asks for them.
rule export:
    input:
        responses=f"{RESULTS}/responses/{{study}}/{{signal}}/sub-{{subject}}.h5",
        stimuli=lambda w: asked(lambda: study_of(w.study).label_files()),
    output:
        training=f"{RESULTS}/export/nice/{{study}}/{{signal}}/sub-{{subject}}/{EXPORTED['nice'][0]}",
        test=f"{RESULTS}/export/nice/{{study}}/{{signal}}/sub-{{subject}}/{EXPORTED['nice'][1]}",
    log:
        f"{RESULTS}/logs/export/nice/{{study}}/{{signal}}/sub-{{subject}}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 7000,
        runtime=lambda w, attempt: attempt * 30,
    params:
        spec=lambda w: settings.canonical(export_spec("nice", w.study, w.signal, w.subject)),
    message:
        "Export responses of {wildcards.study} sub-{wildcards.subject}, signal {wildcards.signal}"
    shell:
        "python -m brain2clip.responses.export --spec {params.spec:q} --input responses={input.responses:q}"
        " --output training={output.training:q} --output test={output.test:q} > {log:q} 2>&1"


use rule export as export_ubp with:
    input:
        responses=rules.export.input.responses,
        stimuli=lambda w: asked(lambda: study_of(w.study).stimulus_files()),  # its reader opens pictures by name
    output:
        training=f"{RESULTS}/export/ubp/{{study}}/{{signal}}/sub-{{subject}}/{EXPORTED['ubp'][0]}",
        test=f"{RESULTS}/export/ubp/{{study}}/{{signal}}/sub-{{subject}}/{EXPORTED['ubp'][1]}",
    log:
        f"{RESULTS}/logs/export/ubp/{{study}}/{{signal}}/sub-{{subject}}.log",
    params:
        spec=lambda w: settings.canonical(export_spec("ubp", w.study, w.signal, w.subject)),
