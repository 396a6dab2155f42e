"""Trained models on other recordings, after brain2clip apply CONFIG: python docs/examples/applied.py CONFIG ENTRY."""

import sys

import brain2clip

results = brain2clip.Results(sys.argv[1])
rows = results.applied(sys.argv[2])
rows["right"] = rows["rank"] == 1

# Zero-shot queries and those of concepts that the model was trained on are two questions; they stand apart.
for seen, part in rows.groupby("seen"):
    print("seen concepts" if seen else "concepts that training did not show")
    by = ["signal", "protocol", "method", "task", "repetitions"]
    print(part.groupby(by)["right"].agg(["mean", "size"]).round(3))
