"""``brain2clip weights``: download the weights of a CLIP, or say what to copy if there is no network."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brain2clip.internals import open_clip_files
from brain2clip.names import suggestion
from brain2clip.settings import Tower
from brain2clip.stimuli.weights import CONFIG, WEIGHTS

ROOT = Path(__file__).resolve().parents[3]
#: Default weights by model.
USUAL = {
    "ViT-B-32": "laion2b_s34b_b79k",
    "ViT-B-16": "laion2b_s34b_b88k",
    "ViT-L-14": "laion2b_s32b_b82k",
    "ViT-H-14": "laion2b_s32b_b79k",
    "RN50": "openai",
}
#: Name of weights in older repositories of the hub.
OLDER = "open_clip_pytorch_model.bin"
#: Address of the hub.
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Source:
    """Source and folder of weights.

    Attributes
    ----------
    model, tag : str
        Names of open_clip.
    repository : str
        ``owner/name`` on the hub.
    file : str
        Name of the weights there; :data:`OLDER` if the hub has no such file.
    folder : Path
        Below the root of the repository.
    sha256 : str or None
        SHA-256 of the file at the original address, if it is known.
    """

    model: str
    tag: str
    repository: str
    file: str
    folder: Path
    sha256: str | None

    @property
    def path(self) -> Path:
        """File of the weights, which may have its older name."""
        older = self.folder / OLDER
        return older if (ROOT / older).is_file() else self.folder / self.file


def weights(name: str) -> None:
    """Download weights unless they exist, and show how a configuration names them.

    Parameters
    ----------
    name : str
        ``MODEL`` or ``MODEL/TAG``, as open_clip calls them.
    """
    known = open_clip_files.known()
    if known is None:
        sys.exit("open_clip's list of weights cannot be read; `make env` installs a version that works")
    source = found(name, known.tags)
    if (ROOT / source.path).is_file() and (ROOT / source.folder / CONFIG).is_file():
        print(f"{source.folder} exists.\n\n{as_yaml(source)}")
        return
    try:
        fetch(source)
    except Exception as error:  # of the hub's client, of the network, of the disk
        print(by_hand(source, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"), file=sys.stderr)
        sys.exit(1)
    digest = hashlib.file_digest((ROOT / source.path).open("rb"), "sha256").hexdigest()
    print(f"{source.path}: SHA-256 {digest}\n\n{as_yaml(source)}")


def found(name: str, tags: Mapping[str, Mapping[str, open_clip_files.Tag]]) -> Source:
    """Source of weights by their names; for a model with the wrong activation, the right model.

    Ends the program if open_clip does not know the name or the hub does not have the weights.
    """
    model, _, tag = name.partition("/")
    if model not in tags:
        sys.exit(
            f"open_clip has no weights for a model {model!r}{suggestion(model, tags)}; common ones: {', '.join(USUAL)}"
        )
    tag = tag or USUAL.get(model, "")
    if tag not in tags[model]:
        what = f"no weights {tag!r} of {model}{suggestion(tag, tags[model])}" if tag else f"{model} has several weights"
        example = f"brain2clip weights {model}/{next(iter(tags[model]))}"
        sys.exit(f"{what}; choose one of {', '.join(tags[model])}, as in {example}")
    one = tags[model][tag]
    if one.quick_gelu and f"{model}{open_clip_files.QUICK_GELU}" in tags:
        model += open_clip_files.QUICK_GELU
    repository, _, file = one.hub.rpartition("/")
    if not repository:
        sys.exit(
            f"{model}/{tag} is not on the hub of open_clip; download {one.url or 'it'} and give the file as pretrained"
        )
    sha = re.search(r"/([0-9a-f]{64})/", one.url)
    folder = Path("weights", f"{model}-{tag}")
    return Source(model, tag, repository, file or WEIGHTS, folder, sha[1] if sha else None)


def fetch(source: Source) -> None:
    """Fetch the files of a source from the hub into its folder."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(file: str) -> None:
        print(f"Fetching {file} of {source.repository} ...", flush=True)
        hf_hub_download(source.repository, file, local_dir=ROOT / source.folder)

    get(CONFIG)
    try:
        get(source.file)
    except LocalEntryNotFoundError:  # no network, which is an EntryNotFoundError as well
        raise
    except EntryNotFoundError:
        get(OLDER)


def by_hand(source: Source, why: str) -> str:
    """Which files to copy if there is no network."""
    size = _size(source.model)
    pages = [f"    {HUB}/{source.repository}/resolve/main/{file}" for file in (source.file, CONFIG)]
    there = [f"    {ROOT / source.folder / file}" for file in (source.file, CONFIG)]
    known = "The page of each file on the hub shows its SHA-256, to compare with `sha256sum`."
    if source.sha256:
        known = f"They hold the numbers of OpenAI's own file, whose SHA-256 is {source.sha256}. {known}"
    lines = [
        f"{source.model}/{source.tag} could not be downloaded ({why}).",
        f"On a machine with a network download{size}, from the repository {source.repository}:",
        *pages,
        f"(if there is no {source.file}: {OLDER}) and copy them to:",
        *there,
        known,
        f"HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror of the hub (now {os.environ.get('HF_ENDPOINT', HUB)}). Then:",
        "",
        as_yaml(source),
    ]
    return "\n".join(lines)


def as_yaml(source: Source) -> str:
    """The tower as a configuration names it."""
    name = re.sub("[^a-z0-9]+", "-", source.model.lower())
    return f"towers:\n  {name}:\n    model: {source.model}\n    pretrained: {source.path}\n    dtype: float16"


def _size(model: str) -> str:
    from brain2clip.plan import sizes

    found = sizes.weights_gb(Tower(model=model, pretrained="x"))
    return "" if found is None else f" ({found:.1f} GB)"
