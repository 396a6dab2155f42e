"""Words of the page in plain English, and what the columns of its files hold."""

from __future__ import annotations

import re

#: Terms, each with a pattern that finds it on a page, and its meaning.
TERMS: tuple[tuple[str, str, str], ...] = (
    (
        "Balanced accuracy",
        "balanced accuracy",
        "Top-1 of each class by itself, then the mean over classes.",
    ),
    (
        "Band, region",
        "band or region",
        "The part of the recording that is used: frequencies of EEG or MEG, or voxels of fMRI.",
    ),
    (
        "BrainCLIP",
        "brainclip",
        "A network from voxels to the picture model's space, trained with pictures and sentences (Ma and "
        "others, IEEE Transactions on Medical Imaging; arXiv 2302.12971). Built here from the "
        "publication.",
    ),
    (
        "Candidates",
        "candidates",
        "What a query is compared with, usually all test pictures.",
    ),
    (
        "Ceiling",
        "ceiling",
        "What an ideal observer reaches that knows how the data were simulated.",
    ),
    (
        "Chance",
        "chance",
        "What guessing gives.",
    ),
    (
        "Class prompts",
        "class prompts",
        "Sentences such as “a photo of a cat”, whose vectors stand for a class in category decoding.",
    ),
    (
        "CLIP",
        "clip",
        "A model that gives pictures and sentences vectors in one space, so that they can be compared. Here "
        "it is the picture model.",
    ),
    (
        "Concept",
        "concept",
        "What a picture shows (cat; in simulated studies a combination such as striped red cat); several pictures may "
        "show the same concept.",
    ),
    (
        "Contrast",
        "contrast",
        "Difference of two methods on the same queries.",
    ),
    (
        "Control",
        "control",
        "A method that cannot know anything, because its training pictures were permuted; it should be at chance.",
    ),
    (
        "V1, V2, V3, LOC, FFA, PPA, VC",
        "(V1|LOC)",
        "Regions of the visual cortex: V1 to V3 are early ones; LOC, FFA and PPA are high ones that prefer "
        "objects, faces and places; VC is all of it.",
    ),
    (
        "Fingerprint",
        "fingerprint",
        "Digest of all settings, code and inputs behind a number.",
    ),
    (
        "Frozen CLIP (as a method)",
        "frozen clip",
        "A brain encoder that is trained to match the vectors of a picture model, which itself is not trained"
        " (frozen).",
    ),
    (
        "Generator",
        "generator",
        "A model that makes a picture from a predicted vector.",
    ),
    (
        "Ideal observer",
        "ideal observer",
        "Knows the noise-free response to every test picture and the noise of a simulated study; gives the ceiling.",
    ),
    (
        "Inductive, transductive",
        "ductive",
        "Inductive: each query is answered by itself. Transductive: with the help of all other queries of the test.",
    ),
    (
        "Interval",
        "interval",
        "95 % confidence interval unless another level is named; the page says how it was made (Protocol: Intervals).",
    ),
    (
        "Judge",
        "(judge|second clip)",
        "A network that compares generated and seen pictures; columns of tables begin with its name. A partial judge "
        "is the picture model itself, whose vectors the generator is given.",
    ),
    (
        "Linear (BrainCLIP)",
        r"\(linear\)",
        "The mapping is one linear layer.",
    ),
    (
        "Margin",
        "margin",
        "Similarity of the right candidate minus that of the best wrong one, times the length of the predicted "
        "vector where it has one; below 0, the query is missed.",
    ),
    (
        "mvnn",
        "mvnn",
        "Multivariate noise normalisation: channels are whitened by the noise of the training trials.",
    ),
    (
        "Nearest of the training bank",
        "nearest",
        "The training picture whose vector is nearest to the prediction; the training bank is all training pictures.",
    ),
    (
        "NeuroCLIP, NeuroCLIP+",
        "neuroclip",
        "A brain encoder trained together with prompts, extra inputs of the picture model that are learned "
        "(Wang and others 2025, arXiv 2511.09250). Built here from the published abstract. With a +: over the"
        " spatial readout.",
    ),
    (
        "Oracle",
        "oracle",
        "Picture that the generator makes of the seen picture's own vector: what a perfect prediction would give.",
    ),
    (
        "Picture model (tower)",
        "(picture model|tower)",
        "The CLIP whose vectors of pictures are predicted from brain responses.",
    ),
    (
        "PixCorr, SSIM",
        "pixcorr",
        "Correlation and structural similarity of the pixels of two pictures.",
    ),
    (
        "Protocol",
        "protocol",
        "Whose trials train and whose are tested: within subjects, leave one subject out, joint, or new subjects.",
    ),
    (
        "Query",
        "quer",
        "One averaged test response (or a picture or caption) whose partner is looked for.",
    ),
    (
        "Rank",
        "rank",
        "The place of the right candidate; 1 is best.",
    ),
    (
        "Repetitions",
        "repetitions",
        "Presentations of the same stimulus; test responses are averaged over them.",
    ),
    (
        "Response",
        "response",
        "The brain's answer to a stimulus, measured: channels by times (EEG, MEG), or voxels (fMRI).",
    ),
    (
        "Ridge regression",
        "ridge",
        "Linear regression with a penalty, from brain responses to vectors of pictures.",
    ),
    (
        "Seed",
        "seed",
        "Number that starts the random numbers of a training; several seeds show how much a result depends on chance.",
    ),
    (
        "Selection",
        "selection",
        "How the epoch or penalty of a model was chosen: fixed, or on training concepts kept aside; never on "
        "test data.",
    ),
    (
        "Similarity",
        "similarit",
        "Cosine between the vector predicted from a response and that of a candidate, unless a method says otherwise.",
    ),
    (
        "Spatial readout",
        "spatial",
        "The picture model's vector beside vectors of the parts of a picture: what is where in it.",
    ),
    (
        "Stimulus",
        "stimulus",
        "What was shown: a picture, or a category where there are no pictures.",
    ),
    (
        "Study",
        "study",
        "A dataset as it is used: recordings, what was shown, the split into training and test.",
    ),
    (
        "Task",
        "task",
        "What is looked for. stimulus: the seen picture; category: its class; caption: its caption; "
        "stimulus-to-brain and caption-to-brain: the response to a picture or a caption.",
    ),
    (
        "Top-k",
        r"top-\d",
        "Share of queries whose right candidate has rank k or better; Top-1: it is found first.",
    ),
    (
        "Two-way",
        "two-way",
        "How often the seen picture is more like the generated one than another test picture is.",
    ),
    (
        "VAE",
        r"\(vae\)",
        "Variational autoencoder: the mapping goes through a narrow noisy layer.",
    ),
    (
        "Vector, embedding",
        "(vector|embedding)",
        "Numbers that a model gives a picture, a sentence or a response.",
    ),
    (
        "Zero-shot, seen concepts",
        "(zero-shot|seen concepts)",
        "Zero-shot: test concepts do not occur in training; else they are seen.",
    ),
)

#: Columns of the files beside the page.
COLUMNS: dict[str, str] = {
    "study, signal, protocol": "the block: dataset, band or region, whose trials train",
    "modality": "EEG, MEG or fMRI",
    "method, label": "name of a method in the configuration, and as it is shown",
    "reference": "method that is subtracted (rows of level difference)",
    "level": "what a row is: run (one subject and seed), subject, mean (over subjects), "
    "difference, class, cost or published",
    "subject, seed": "of one run; empty in means",
    "task": "what is looked for; of generated pictures the judge",
    "metric": "name of the number: task, metric, @repetitions, as in category:top-1@1 "
    "(without a task: finding the stimulus; without @: all repetitions)",
    "value": "the number; a share from 0 to 1 where the page has percent (0.66 is 66.0 %)",
    "spread": "standard deviation over seeds of the mean over subjects; empty with one seed",
    "ci_low, ci_high": "ends of the bootstrap interval, or of the exact binomial one",
    "t_low, t_high": "ends of Student's t interval over subjects",
    "decides": "which of the two is shown: ci or t",
    "resampled": "what the bootstrap drew anew, or exact binomial",
    "p_sign_flip": "two-sided p of sign flips over subjects; cannot be below 2 / 2^subjects",
    "chance": "what guessing gives",
    "largest_class": "share of the queries that the largest class has; empty where candidates are no classes",
    "n_subjects, n_seeds, n_stimuli, n_queries": "numbers of subjects, seeds, stimuli and queries behind a number",
    "source, note": "source of a published number, and remarks on it",
    "target": "class, or source of a generated picture; of a query: the right candidate",
    "concepts": "unseen (zero-shot) or seen",
    "table": "table that a line is from",
    "ceiling, control": "whether a method is one (true or false)",
    "low, high, interval": "ends of the interval that decides, and how it was made",
    "cost, seconds": "training of one model: in words, and mean seconds",
    "fingerprint, settings": "digest of what made a line, and all settings of the method as JSON",
    "query": "number of a query in its run, from 0",
    "repetitions": "how many test responses were averaged",
    "rank, n_candidates": "place of the right candidate, of how many",
    "similarity, margin": "of the right candidate; and minus that of the best wrong one, times the length of "
    "the predicted vector where it has one",
    "top_ids, top_similarities": "best candidates, first the best, and their similarities (the latter in Parquet only)",
}


def of(page: str) -> list[tuple[str, str]]:
    """Terms that occur on a page, with their meanings."""
    text = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
    found = [(term, words) for term, pattern, words in TERMS if re.search(pattern, text, re.IGNORECASE)]
    return sorted(found, key=lambda one: one[0].lower())
