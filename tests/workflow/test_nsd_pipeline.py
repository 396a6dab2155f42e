"""Natural Scenes Dataset: what configs/nsd.yaml would do, with sizes; a miniature from a local mirror to a table."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import nsd_world as world
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from project import Project

from brain2clip.readers import nsd_files
from brain2clip.settings import Tower
from brain2clip.stimuli import frozen_clip
from brain2clip.studies import nsd

pytestmark = pytest.mark.workflow

SUBJECTS = ("01", "02", "05", "07")
ACCEPTED = ("--config", "studies={nsd: {accept_terms: true}}")
#: Pictures of the miniature, pixels.
SIDE = 64


def published_sizes() -> dict[str, int]:
    """Bytes of the files of the four subjects: betas are int16 on the published grids, the others of their order."""
    found = {nsd_files.DESIGN: 700_000, nsd_files.PICTURES: 11_000_000, nsd_files.BRICK: 39_600_000_000}
    for subject in SUBJECTS:
        for session in range(1, 41):
            for form in nsd_files.ENDINGS:
                path = nsd_files.betas(subject, world.VERSION, session, form)
                found[path] = 2 * 750 * int(np.prod(nsd.GRIDS[subject]))
        for family in ("nsdgeneral", *world.FAMILIES):
            found[nsd_files.roi(subject, family)] = 20_000
            found[nsd_files.names(subject, family)] = 200
        found[nsd_files.responses(subject)] = 3_000_000
    return found


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Project:
    """A fresh copy of the project with configs/nsd.yaml and a manifest of what the bucket lists."""
    made = Project.create(tmp_path_factory.mktemp("nsd") / "project")
    shutil.copy2(Path(__file__).resolve().parents[2] / "configs/nsd.yaml", made.config_file)
    listing = world.listing(published_sizes(), made.folder / "listing.txt")
    nsd_files.main([str(listing), str(made.folder / "data/nsd/manifest.csv")])
    for split in ("train2017", "val2017"):
        path = made.folder / f"data/coco/annotations/captions_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return made


def test_nothing_is_planned_before_the_terms_are_accepted(shipped):
    done = shipped.run("-n", check=False)
    assert done.returncode
    told = done.stdout + done.stderr
    assert "accept_terms" in told
    assert "https://cvnlab.slite.page/p/IB6BSeW_7o" in told
    assert not (shipped.folder / "results").exists()


def test_the_configuration_plans_with_sizes(shipped):
    done = shipped.run("-n", *ACCEPTED)
    counts, told = Project.counted(done), done.stdout + done.stderr
    # Per subject: 40 sessions, the mask and six families, names of these, the table of trials; design, table, pictures.
    assert counts["download"] == 4 * (40 + 7 + 6 + 1) + 3
    assert counts["bricks"] == counts["catalogue"] == 1
    assert counts["voxels"] == 4 * 3
    assert counts["features"] == 2  # ViT-B/32 and ViT-bigG/14
    assert counts["train"] == counts["rank"] == 4 * (4 * 3 + 1 + 2)  # ridge draws nothing: one seed; two more regions
    betas = sum(2 * 750 * int(np.prod(nsd.GRIDS[subject])) * 40 for subject in SUBJECTS)
    assert 157e9 < betas < 158e9
    assert "Still to download: 219 files, 197 GB" in told
    assert not (shipped.folder / "results").exists()


def coloured() -> np.ndarray:
    """Pictures [n, SIDE, SIDE, 3] of 4 x 4 colours each, which a tower tells apart."""
    blocks = np.random.default_rng(11).integers(0, 256, (world.N_PICTURES, 4, 4, 3), np.uint8)
    return blocks.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory) -> np.ndarray:
    """Embedding [n, d] of each picture by the small tower, standardised."""
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for number, pixels in enumerate(coloured()):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    tower = Tower(model=f"local-dir:{Path(__file__).resolve().parents[2] / 'workflow/towers/grammar-vit'}")
    clip = frozen_clip.load(tower, "cpu")
    with torch.inference_mode():
        seen = frozen_clip.from_bytes(frozen_clip.seen(clip, paths), clip.mean, clip.std)
        found = clip.model.encode_image(seen).float().numpy()
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return (found - found.mean(axis=0)) / found.std()


def planted_by(embeddings: np.ndarray):
    """Betas of a subject and session: of each voxel a fixed sum of the picture's embedding, and noise of the trial."""

    def planted(subject: str, session: int) -> np.ndarray:
        voxels = np.random.default_rng(int(subject)).normal(size=(*world.GRID, embeddings.shape[1]))
        trials = slice(world.TRIALS * (session - 1), world.TRIALS * session)
        noise = np.random.default_rng([int(subject), session]).normal(size=(*world.GRID, world.TRIALS))
        clean = voxels @ embeddings[world.shown(subject)[trials]].T
        return np.round(100 * (clean + 2 * noise) + 40 * session).astype(np.int16)

    return planted


CONFIG = """
results: results
studies:
  nsd: {kind: nsd, accept_terms: true, manifest: manifest.csv, subjects: ["01", "02"], sessions: 2,
        voxels: {normalise: session}}
  nifti: {kind: nsd, accept_terms: true, root: bucket, subjects: ["01"], sessions: 2, format: nifti,
          voxels: {normalise: session}}
rois:
  all: {}
towers:
  grammar-vit: {model: "local-dir:workflow/towers/grammar-vit"}
protocols:
  intra: {kind: intra-subject}
methods:
  ridge: {kind: ridge, tower: grammar-vit}
experiments:
  main: {study: nsd, signals: [all], protocols: [intra], methods: [ridge]}
  nifti: {study: nifti, signals: [all], protocols: [intra], methods: [ridge]}
retrieval: {tasks: [stimulus, stimulus-to-brain], repetitions: [1, all], metrics: [top-1], bootstrap: 200}
tables:
  main: {kind: methods, experiments: [main, nifti], metric: "stimulus:top-1"}
  to-brain: {kind: methods, experiments: [main, nifti], metric: "stimulus-to-brain:top-1"}
"""


# One test, because the run behind it would be made again by every worker that has a part of it.
def test_planted_identity_of_every_trial_from_a_local_mirror_to_a_table(tmp_path, embeddings):
    project = Project.create(tmp_path / "project")
    planted = planted_by(embeddings)
    root = world.write(project.folder / "bucket", brick=coloured(), planted=planted)
    nsd_files.main([str(world.listing(world.sizes(root), tmp_path / "l.txt")), str(project.folder / "manifest.csv")])
    project.config_file.write_text(f"{CONFIG}download: {{sources: {{nsd: 'file://{root.resolve()}'}}}}\n")
    project.run_preloaded("results/tables/main.md", "results/tables/to-brain.md")
    results = project.folder / "results"

    inside = np.nonzero(world.mask() > 0)
    for subject in ("01", "02"):
        with h5py.File(results / f"responses/nsd/all/sub-{subject}.h5") as file:
            names, values = file["stimulus_id"].asstr()[:][file["stimulus"][:]], file["response"][:]
            split, sessions = file["split"][:], file["session"].asstr()[:]
        assert [nsd.number_of(name) for name in names] == world.shown(subject).tolist()
        for session in (1, 2):
            own = sessions == f"{session:02d}"
            stored = planted(subject, session)[inside].T / 300
            fitted = stored[split[own] == 0]
            expected = (stored - fitted.mean(axis=0)) / fitted.std(axis=0, ddof=1)
            np.testing.assert_allclose(values[own], expected, atol=1e-4)
    hdf5, nifti = (h5py.File(results / f"responses/{name}/all/sub-01.h5") for name in ("nsd", "nifti"))
    with hdf5, nifti:
        np.testing.assert_array_equal(hdf5["response"][:], nifti["response"][:])

    listed = pd.read_csv(results / "raw/nsd/pictures/pictures.tsv", sep="\t")
    assert len(listed) == world.N_PICTURES
    for image, row in zip(listed["image"][::20], listed["row"][::20]):
        np.testing.assert_array_equal(np.asarray(Image.open(results / "raw/nsd/pictures" / image)), coloured()[row])

    table = pd.read_parquet(results / "tables/main.parquet").query("level == 'mean'").set_index("study")
    assert (table["concepts"] == "seen").all()
    assert (table["value"] > 0.6).all(), table["value"]
    assert table["chance"].to_numpy() == pytest.approx(1 / world.SHARED)
    assert "seen concepts" in (results / "tables/main.md").read_text()
    back = pd.read_parquet(results / "tables/to-brain.parquet").query("level == 'mean'")
    assert (back["value"] > 0.6).all()
