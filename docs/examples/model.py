"""A trained model in use, and the pictures that it confuses: python docs/examples/model.py CONFIG METHOD."""

import sys

import brain2clip

results = brain2clip.Results(sys.argv[1])
run = results.runs(method=sys.argv[2]).iloc[0]
model = results.model(**run)
epochs = results.responses(run["study"], run["signal"], run["subject"], split="test")

# Embeddings of single trials; whitened as the study says, so they can go in as they are.
embedding = model.embed(epochs)
print(f"{len(embedding)} trials, {embedding.shape[1]} numbers each, among {len(model.candidates)} candidates")

# The rows of the run itself, made again; then the same trials among a few candidates only.
rows = model.rank(epochs, repetitions=["all"])
same = results.rows(**run).query("repetitions == 'all'")
print(f"Top-1 {(rows['rank'] == 1).mean():.3f}, the run has {(same['rank'] == 1).mean():.3f}")
few = model.candidates[:4]
shown = epochs[epochs.metadata["stimulus"].isin(few).to_numpy()]
print(f"among {len(few)}: {(model.rank(shown, few, repetitions=[1])['rank'] == 1).mean():.3f} of single trials")

# What is taken for what: similarity of the mean response to each picture with every candidate.
similarity = model.similarity(epochs)
print(
    similarity.groupby(epochs.metadata["stimulus"].to_numpy()).mean().idxmax(axis=1).rename("most similar").to_string()
)
