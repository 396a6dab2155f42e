# Datasets from their archives, file by file: one job per recording with its sidecars, one per archive of pictures.
# Fetching is a matter for the machine with the network: local, and a few at a time (download.at_once).
if "download" not in workflow.global_resources:
    workflow.register_resource("download", CONFIG.download.at_once)

for name in CONFIG.download.sources:
    if name not in downloads():
        raise WorkflowError(
            f"download.sources: no dataset named {name!r}{bids_files.suggestion(name, downloads())}; "
            f"the studies of this configuration download {', '.join(downloads()) or 'nothing'}"
        )

if workflow.is_main_process and missing_downloads():
    logger.info(f"Still to download: {amount(missing_downloads())} (results go to {RESULTS}/raw)")
    room = shutil.disk_usage(next(path for path in Path(RESULTS, "raw").absolute().parents if path.exists())).free
    if sum(file.size or 0 for file in missing_downloads()) > room:
        logger.warning(
            f"Only {room / 1e9:.3g} GB are free there: make room, or let {RESULTS} be a link to another disk"
        )

# How files are fetched and which tables say from where goes to the jobs by the environment, not by a parameter, so that
# another mirror re-runs nothing.
os.environ.update(
    BRAIN2CLIP_DOWNLOAD=settings.canonical(CONFIG.download),
    BRAIN2CLIP_MANIFESTS=settings.canonical(
        {study_of(name).dataset: CONFIG.studies[name].manifest for name in CONFIG.studies if is_downloaded(name)}
    ),
)


rule download:
    output:
        record=f"{RESULTS}/downloads/{{dataset}}/{{unit}}.json",
    log:
        f"{RESULTS}/logs/download/{{dataset}}/{{unit}}.log",
    wildcard_constraints:
        dataset="|".join(downloads()) or "(?!)",
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
        spec=lambda w: settings.canonical(download_spec(w.dataset, w.unit)),
        amount=lambda w: amount(downloads()[w.dataset].get(w.unit, ())),
    message:
        "Download {wildcards.unit} of {wildcards.dataset}: {params.amount}"
    shell:
        "python -m brain2clip.downloads.download --spec {params.spec:q}"
        " --output record={output.record:q} > {log:q} 2>&1"


rule images:
    input:
        records=lambda w: asked(study_of(dataset_study(w.dataset)).archive_files),
        index=lambda w: asked(study_of(dataset_study(w.dataset)).label_files),
    output:
        stimuli=f"{RESULTS}/raw/{{dataset}}/stimuli/stimuli.tsv",
    log:
        f"{RESULTS}/logs/images/{{dataset}}.log",
    wildcard_constraints:
        dataset=bringing_pictures(),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * 1000,
        runtime=lambda w, attempt: attempt * 30,
    params:
        spec=lambda w: settings.canonical(images_spec(dataset_study(w.dataset))),
    message:
        "Unpack and check the pictures of {wildcards.dataset}"
    shell:
        'for given in {input.records:q}; do set -- "$@" --input record="$given"; done;'
        ' python -m brain2clip.downloads.images --spec {params.spec:q} "$@"'
        " --output stimuli={output.stimuli:q} > {log:q} 2>&1"
