"""Evoked responses of a subject, and what the runs of the study came to: python docs/examples/responses.py CONFIG."""

import sys

import brain2clip

results = brain2clip.Results(sys.argv[1])
first = results.runs().iloc[0]
print(results.runs().drop(columns="seed").nunique().to_string())

# Responses as the models are given them: an mne.EpochsArray, what each trial was stands in its metadata.
epochs = results.responses(first["study"], first["signal"], first["subject"], split="test")
print(epochs)
concept = results.stimuli(first["study"])["concept"]
epochs.metadata = epochs.metadata.assign(concept=concept.loc[epochs.metadata["stimulus"]].to_numpy())
for name in concept[concept.index.isin(epochs.metadata["stimulus"])].iloc[:2]:
    evoked = epochs[f"concept == {name!r}"].average()
    channel, time = evoked.get_peak()
    print(f"{name}: {evoked.nave} trials, largest at {channel} after {1000 * time:.0f} ms")

# One row for each run and metric; concepts says whether the test asked for what training showed.
summary = results.summary(study=first["study"])
top1 = summary[summary["metric"] == "top-1"]
print(top1.pivot_table(index=["signal", "protocol", "method", "concepts"], columns="subject", values="value").round(3))
