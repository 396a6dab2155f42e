# The embedded simulated studies, written as BIDS datasets.
rule simulate_pictures:
    output:
        stimuli=f"{RESULTS}/raw/{{study}}/stimuli/stimuli.tsv",
        features=f"{RESULTS}/raw/{{study}}/derivatives/truth/features.h5",
        record=f"{RESULTS}/raw/{{study}}/stimuli/brain2clip-files.json",
    log:
        f"{RESULTS}/logs/simulate_pictures/{{study}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/simulate_pictures/{{study}}.tsv"
    wildcard_constraints:
        study=either(PLAN.simulated_studies()),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.simulate_pictures_job(w.study).spec.json),
    message:
        "Draw the pictures of {wildcards.study}"
    shell:
        "python -m brain2clip.simulation.simulate_pictures --spec {params.spec:q}"
        " --output stimuli={output.stimuli:q} --output features={output.features:q} --output record={output.record:q}"
        " > {log:q} 2>&1"


rule simulate_recordings:
    input:
        unpack(asked(lambda w: files(PLAN.simulated_job(w.study, w.subject)))),
    output:
        record=f"{RESULTS}/raw/{{study}}/sub-{{subject}}/brain2clip-files.json",
        truth=f"{RESULTS}/raw/{{study}}/derivatives/truth/sub-{{subject}}.h5",
    log:
        f"{RESULTS}/logs/simulate_recordings/{{study}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/simulate_recordings/{{study}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=either(PLAN.simulated_studies("eeg")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        spec=asked(lambda w: PLAN.simulated_job(w.study, w.subject).spec.json),
        given=by_name,
    message:
        "Simulate the recordings of {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.simulation.simulate_recordings --spec {params.spec:q} --input {params.given:q}"
        " --output record={output.record:q} --output truth={output.truth:q} > {log:q} 2>&1"


rule simulate_voxels:
    input:
        unpack(asked(lambda w: files(PLAN.simulated_job(w.study, w.subject)))),
    output:
        signals=f"{RESULTS}/raw/{{study}}/sub-{{subject}}/sub-{{subject}}_voxels.h5",
        truth=f"{RESULTS}/raw/{{study}}/derivatives/truth/sub-{{subject}}.h5",
    log:
        f"{RESULTS}/logs/simulate_voxels/{{study}}/sub-{{subject}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/simulate_voxels/{{study}}/sub-{{subject}}.tsv"
    wildcard_constraints:
        study=either(PLAN.simulated_studies("fmri")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        spec=asked(lambda w: PLAN.simulated_job(w.study, w.subject).spec.json),
        given=by_name,
    message:
        "Simulate the voxels of {wildcards.study} sub-{wildcards.subject}"
    shell:
        "python -m brain2clip.simulation.simulate_voxels --spec {params.spec:q} --input {params.given:q}"
        " --output signals={output.signals:q} --output truth={output.truth:q} > {log:q} 2>&1"


rule simulate_dataset:
    output:
        description=f"{RESULTS}/raw/{{study}}/dataset_description.json",
    log:
        f"{RESULTS}/logs/simulate_dataset/{{study}}.log",
    wildcard_constraints:
        study=either(PLAN.simulated_studies("eeg")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        spec=asked(lambda w: PLAN.simulate_dataset_job(w.study).spec.json),
    message:
        "Describe the dataset {wildcards.study}"
    shell:
        "python -m brain2clip.simulation.simulate_dataset --spec {params.spec:q}"
        " --output description={output.description:q} > {log:q} 2>&1"
