"""Stage ``simulate_dataset``: the files of the simulated BIDS dataset that are about all subjects.

Output ``description`` (dataset_description.json, written last); participants, README and .bidsignore are written to the
same folder.
"""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from brain2clip import artefact, settings, stage
from brain2clip.readers import file_records

BIDS_VERSION = "1.10.0"
LICENCE = "CC0"
IGNORED = ("derivatives/", "stimuli/", ".sub-*.part/", file_records.NAME)
README = """# Simulated EEG of people who look at pictures

Nobody was recorded: this dataset was computed by brain2clip. Pictures come from a grammar of objects, textures, colours
and scenes; dipoles in a spherical head answer to their low-level features at 80 to 120 ms, to mid-level ones at 150 to
200 ms and to semantic ones at 250 to 400 ms. Background activity, alpha, blinks, mains hum, drift and sensor noise are
added. Columns of events.tsv are those of THINGS-EEG2 (NEMAR nm000232); `value` is no label in training.

- Subjects: {subjects}; recording sessions: {sessions}; sampling rate: {sfreq:g} Hz; 50 Hz mains.
- Training pictures: {training} of {training_concepts} concepts, each shown {training_repetitions} times.
- Test pictures: {test_concepts} of as many other concepts, each shown {test_repetitions} times.
- Difficulty: snr {snr:g}. Seed: {seed}.

`stimuli/stimuli.tsv` names the pictures. `derivatives/truth` holds the noise-free response of each subject to each
picture. Licence: CC0 1.0.
"""


def run(job: stage.Job) -> None:
    """Write everything beside the description, then the description."""
    study = settings.parse(settings.SimulatedStudy, job.settings["study"])
    target = job.output("description")
    people = [f"sub-{number:02d}" for number in range(1, study.subjects + 1)]
    rows = "".join(f"{name}\tn/a\tn/a\tn/a\n" for name in people)
    files = {
        "participants.tsv": "participant_id\tage\tsex\thand\n" + rows,
        "participants.json": _json(
            {
                "participant_id": {"Description": "Simulated subject; nobody was recorded."},
                "age": {"Description": "Not simulated.", "Units": "year"},
                "sex": {"Description": "Not simulated."},
                "hand": {"Description": "Not simulated."},
            }
        ),
        "README.md": README.format(
            training=study.training_concepts * study.pictures_per_concept, **study.model_dump(mode="json")
        ),
        ".bidsignore": "".join(f"{name}\n" for name in IGNORED),
    }
    for name, text in files.items():
        artefact.write_text(target.with_name(name), text)
    artefact.write_text(target, _json(description(target.parent.name)))


def description(name: str) -> dict[str, Any]:
    """dataset_description.json of the study of that name."""
    return {
        "Name": f"{name}: simulated EEG of people who look at pictures (nobody was recorded)",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": LICENCE,
        "Authors": ["The authors of brain2clip"],
        "Acknowledgements": "Computed, not recorded.",
        "EthicsApprovals": ["None needed: simulated data."],
        "GeneratedBy": [
            {
                "Name": "brain2clip",
                "Version": _version(),
                "Description": "Simulation: dipoles in a spherical head that answer to drawn pictures, and noise.",
            }
        ],
    }


def _version() -> str:
    try:
        return metadata.version("brain2clip")
    except metadata.PackageNotFoundError:
        return "n/a"


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=4) + "\n"


if __name__ == "__main__":
    stage.main(run)
