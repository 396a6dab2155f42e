# Datasets from their archives, file by file: one job per recording with its sidecars, one per archive of pictures.
# Fetching is a matter for the machine with the network: local, and a few at a time (download.at_once).
rule download:
    output:
        record=f"{RESULTS}/downloads/{{dataset}}/{{unit}}.json",
    log:
        f"{RESULTS}/logs/download/{{dataset}}/{{unit}}.log",
    wildcard_constraints:
        dataset=either(PLAN.downloads()),
        unit="[A-Za-z0-9_-]+",
    retries: 0
    localrule: True
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
        download=1,
    params:
        spec=asked(lambda w: PLAN.download_job(w.dataset, w.unit).spec.json),
        amount=asked(lambda w: amount(PLAN.downloads()[w.dataset].get(w.unit, ()))),
    message:
        "Download {wildcards.unit} of {wildcards.dataset}: {params.amount}"
    shell:
        "python -m brain2clip.downloads.download --spec {params.spec:q}"
        " --output record={output.record:q} > {log:q} 2>&1"


rule images:
    input:
        unpack(asked(lambda w: files(PLAN.images_job(w.dataset)))),
    output:
        stimuli=f"{RESULTS}/raw/{{dataset}}/stimuli/stimuli.tsv",
        record=f"{RESULTS}/raw/{{dataset}}/stimuli/brain2clip-files.json",
    log:
        f"{RESULTS}/logs/images/{{dataset}}.log",
    wildcard_constraints:
        dataset=either(PLAN.bringing_pictures()),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        spec=asked(lambda w: PLAN.images_job(w.dataset).spec.json),
        given=by_name,
    message:
        "Unpack and check the pictures of {wildcards.dataset}"
    shell:
        "python -m brain2clip.downloads.images --spec {params.spec:q} --input {params.given:q}"
        " --output stimuli={output.stimuli:q} --output record={output.record:q} > {log:q} 2>&1"


# Pictures that a dataset keeps as rows of one array: those that the subjects of a study were shown, as PNG.
rule bricks:
    input:
        unpack(asked(lambda w: files(PLAN.bricks_job(w.study)))),
    output:
        pictures=f"{RESULTS}/raw/{{study}}/pictures/pictures.tsv",
        record=f"{RESULTS}/raw/{{study}}/pictures/brain2clip-files.json",
    log:
        f"{RESULTS}/logs/bricks/{{study}}.log",
    wildcard_constraints:
        study=either(PLAN.bricked()),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        spec=asked(lambda w: PLAN.bricks_job(w.study).spec.json),
        given=by_name,
    message:
        "Unpack the pictures of {wildcards.study}"
    shell:
        "python -m brain2clip.downloads.bricks --spec {params.spec:q} --input {params.given:q}"
        " --output pictures={output.pictures:q} --output record={output.record:q} > {log:q} 2>&1"
