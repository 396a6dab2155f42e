# Recordings to single-trial brain responses, one file per subject and signal. Each rule takes the studies of its stage.
rule epochs:
    input:
        unpack(asked(lambda w: files(PLAN.responses_job(w.study, w.signal, w.subject)))),
    output:
        responses=f"{RESULTS}/responses/{{study}}/{{signal}}/sub-{{subject}}.h5",
    log:
        f"{RESULTS}/logs/epochs/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/epochs/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=either(PLAN.studies_of("epochs")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        spec=asked(lambda w: PLAN.responses_job(w.study, w.signal, w.subject).spec.json),
        given=by_name,
    message:
        "Brain responses of {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}"
    shell:
        "python -m brain2clip.responses.epochs --spec {params.spec:q} --input {params.given:q}"
        " --output responses={output.responses:q} > {log:q} 2>&1"


rule preprocessed:
    input:
        unpack(asked(lambda w: files(PLAN.responses_job(w.study, w.signal, w.subject)))),
    output:
        responses=rules.epochs.output.responses,
    log:
        f"{RESULTS}/logs/preprocessed/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/preprocessed/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=either(PLAN.studies_of("preprocessed")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(6000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.responses_job(w.study, w.signal, w.subject).spec.json),
        given=by_name,
    message:
        "The authors' epochs of {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.responses.preprocessed --spec {params.spec:q} --input {params.given:q}"
        " --output responses={output.responses:q} > {log:q} 2>&1"


rule voxels:
    input:
        unpack(asked(lambda w: files(PLAN.responses_job(w.study, w.signal, w.subject)))),
    output:
        responses=rules.epochs.output.responses,
    log:
        f"{RESULTS}/logs/voxels/{{study}}/{{signal}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/voxels/{{study}}/{{signal}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=either(PLAN.studies_of("voxels")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.responses_job(w.study, w.signal, w.subject).spec.json),
        given=by_name,
    message:
        "Voxel responses of {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}"
    shell:
        "python -m brain2clip.responses.voxels --spec {params.spec:q} --input {params.given:q}"
        " --output responses={output.responses:q} > {log:q} 2>&1"


# Responses as if training had ended after some sessions.
rule sessions:
    input:
        unpack(asked(lambda w: files(PLAN.sessions_job(w.study, w.signal, w.subject, int(w.sessions))))),
    output:
        responses=f"{RESULTS}/responses/{{study}}/{{signal}}/sub-{{subject}}.sessions-{{sessions}}.h5",
    log:
        f"{RESULTS}/logs/sessions/{{study}}/{{signal}}/sub-{{subject}}.sessions-{{sessions}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sessions/{{study}}/{{signal}}/sub-{{subject}}.sessions-{{sessions}}.tsv"
    wildcard_constraints:
        sessions="[1-9][0-9]*",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.sessions_job(w.study, w.signal, w.subject, int(w.sessions)).spec.json),
        given=by_name,
    message:
        "Responses of {wildcards.study} sub-{wildcards.subject}, {wildcards.signal}, training of {wildcards.sessions} session(s)"
    shell:
        "python -m brain2clip.responses.sessions --spec {params.spec:q} --input {params.given:q}"
        " --output responses={output.responses:q} > {log:q} 2>&1"
