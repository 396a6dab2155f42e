"""The documentation site, ``python -m brain2clip.documents.site`` (``make site``), and the hooks that mkdocs calls.

Most pages are the files of ``docs``. Three groups are made while the site is built: results, from folders of results
that are there; the API, from docstrings; and copies of files of the repository that pages link to (the changelog, the
recipes of ``CONTRIBUTING.md``, configurations), because a link that leaves ``docs`` works on a code host only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DOCS = "docs"

#: Files of the repository that are pages of the site, and where.
PAGES = {"CONTRIBUTING.md": "extend.md", "CHANGELOG.md": "changelog.md"}
#: Pages of ``docs`` that are in the navigation where they are there.
OPTIONAL = ("generation.md",)
#: Modules on the pages of the API, by page.
API: dict[str, tuple[str, tuple[str, ...]]] = {
    "notebook": ("In a notebook", ("brain2clip.notebook",)),
    "studies": (
        "Studies",
        ("brain2clip.readers.contract", "brain2clip.readers.user_stimuli", "brain2clip.readers.downloaded"),
    ),
    "models": (
        "Models",
        (
            "brain2clip.models.brain_encoder",
            "brain2clip.models.readout",
            "brain2clip.models.band_gains",
            "brain2clip.models.weight_changes",
            "brain2clip.stimuli.view_base",
            "brain2clip.training.augmenting",
        ),
    ),
    "metrics": ("Metrics", ("brain2clip.retrieval.metric_base", "brain2clip.names")),
    "tables": (
        "Tables and figures",
        (
            "brain2clip.reporting.table_base",
            "brain2clip.reporting.table_records",
            "brain2clip.reporting.typeset",
            "brain2clip.reporting.wording",
            "brain2clip.reporting.figure_base",
        ),
    ),
    "files": ("Files", ("brain2clip.artefact", "brain2clip.readers.manifests")),
}


@dataclass(frozen=True)
class Run:
    """A folder of results that gets a page.

    Attributes
    ----------
    title : str
    command : str
        Command that makes the results.
    configuration : str
        Path of its configuration.
    about : str
        Description in one sentence.
    """

    title: str
    command: str
    configuration: str
    about: str


#: Folders of results with a page, below ``results``.
RUNS = {
    "demo": Run("Demo", "make demo", "workflow/studies/demo.yaml", "The small simulated experiment, EEG and fMRI."),
    "study": Run(
        "Simulated EEG study",
        "make study",
        "workflow/studies/study.yaml",
        "NeuroCLIP and its baselines on ten simulated subjects.",
    ),
    "study-fmri": Run(
        "Simulated fMRI study",
        "make study",
        "workflow/studies/study-fmri.yaml",
        "BrainCLIP's mappings on simulated voxels.",
    ),
    "generation": Run(
        "Pictures from simulated brains",
        "make study",
        "workflow/studies/generation.yaml",
        "Generated pictures of EEG and fMRI, beside the nearest ones, a perfect prediction and chance.",
    ),
    "field-simulated": Run(
        "Methods of the field, simulated",
        "make field",
        "workflow/studies/field-simulated.yaml",
        "Published methods, rebuilt, on one simulated study.",
    ),
}
SIMULATED = (
    "**Everything here is simulated.** The numbers show that the pipeline finds what was put in. They say nothing "
    "about brains, and no paper printed them."
)

_LINK = re.compile(r"(?P<open>\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<close>\))")
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}).*?^(?P=indent)(?P=fence) *$", re.M | re.S)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".csv": "text", ".smk": "python"}


def main(arguments: list[str] | None = None) -> None:
    """Build the site, with every warning as an error."""
    parser = argparse.ArgumentParser(description="Build the documentation site (mkdocs, strict).")
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="folder of the site (default: site)")
    given = parser.parse_args(arguments)
    missing = [name for name in ("mkdocs", "material", "mkdocstrings") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"the site needs {', '.join(missing)}: install the extra `docs` (pip install --editable .[docs])")
    for name, run in RUNS.items():
        if not (ROOT / "results" / name / "tables").is_dir():
            print(f"results/{name} does not exist, which its page says ({run.command} makes it)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(given.out.resolve())]
    # The hooks are this module: mkdocs must find the package of this checkout.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"wrote {given.out}/index.html")


# ------------------------------------------------------------------------------------------------------------- links


def place(path: str) -> str | None:
    """Path of a repository file on the site; None if there is no such file.

    Parameters
    ----------
    path : str
        Relative to the root of the repository.
    """
    if path in PAGES:
        return PAGES[path]
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    if path == "README.md":
        return "README.md"
    if (ROOT / path).is_file():
        return f"repository/{path}.md"
    return None


def source(site_path: str) -> str:
    """The file of the repository that a page is made of."""
    return next((path for path, page in PAGES.items() if page == site_path), f"{DOCS}/{site_path}")


def relinked(text: str, site_path: str) -> str:
    """A page whose relative links, which hold in the repository, hold on the site as well.

    Parameters
    ----------
    text : str
        Markdown. Code blocks stay as they are.
    site_path : str
        Where the page stands on the site.
    """
    folder = posixpath.dirname(source(site_path))

    def link(found: re.Match[str]) -> str:
        target = place(posixpath.normpath(posixpath.join(folder, found["target"])))
        if "://" in found["target"] or target is None:
            return found[0]
        relative = posixpath.relpath(target, posixpath.dirname(site_path) or ".")
        return f"{found['open']}{relative}{found['anchor'] or ''}{found['close']}"

    parts, at = [], 0
    for block in _FENCE.finditer(text):
        parts += [_LINK.sub(link, text[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*parts, _LINK.sub(link, text[at:])])


def linked(text: str, site_path: str) -> Iterator[str]:
    """Files of the repository outside of ``docs`` that a page links to, those that are pages themselves left out."""
    folder = posixpath.dirname(source(site_path))
    for found in _LINK.finditer(_FENCE.sub("", text)):
        path = posixpath.normpath(posixpath.join(folder, found["target"]))
        target = place(path)
        if target is not None and target.startswith("repository/"):
            yield path


# ------------------------------------------------------------------------------------------------------------- pages


def copied(path: str) -> str:
    """Page that shows a file of the repository."""
    text = (ROOT / path).read_text(encoding="utf-8")
    language = _LANGUAGES.get(Path(path).suffix, "text")
    return f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n"


def api_page(name: str) -> str:
    """A page of the API: a directive of mkdocstrings for each module."""
    title, modules = API[name]
    return f"# {title}\n\n" + "\n".join(f"::: {module}\n" for module in modules)


def api_index() -> str:
    """The list of pages of the API."""
    lines = ["# API", "", "Made from the docstrings. What a recipe in [Extend](../extend.md) imports is here.", ""]
    lines += [
        f"- [{title}]({name}.md): {', '.join(f'`{one}`' for one in modules)}" for name, (title, modules) in API.items()
    ]
    return "\n".join(lines) + "\n"


def results_index(root: Path = ROOT) -> str:
    """The list of runs, with and without results."""
    lines = [
        "# Results",
        "",
        "These pages are made from folders of results when the site is built; no number is copied by hand.",
        "",
        SIMULATED,
        "",
        "| results | what | made by | here |",
        "|---|---|---|---|",
    ]
    for name, run in RUNS.items():
        there = "yes" if _tables(root / "results" / name) else "no"
        lines.append(f"| [{run.title}]({name}.md) | {run.about} | `{run.command}` | {there} |")
    lines += [
        "",
        "What runs of these studies showed, in words, with the tables that were recorded then: "
        "[the simulated EEG study](../simulated-study.md), [the simulated fMRI study](../simulated-study-fmri.md), "
        "[the field on a simulated study](../field.md), [pictures from brains](../generation.md).",
    ]
    return "\n".join(lines) + "\n"


def results_page(name: str, root: Path = ROOT) -> str:
    """Tables and figures of a folder of results.

    Parameters
    ----------
    name : str
        Its name below ``results``.
    root : Path
        Of the repository.
    """
    run = RUNS[name]
    folder = root / "results" / name
    lines = [f"# {run.title}", "", run.about, "", SIMULATED, ""]
    tables = _tables(folder)
    if not tables:
        lines += [f"This site was built without `results/{name}`. `{run.command}` makes it", ""]
        lines += [f"(configuration: `{run.configuration}`); then build the site again.", ""]
        return "\n".join(lines)
    lines += [f"Made from `results/{name}` (`{run.command}`, configuration `{run.configuration}`).", ""]
    if (folder / "page.html").is_file():
        lines += [f"[Open the results page]({name}/page.html): sorting, filters, and the pictures of each query.", ""]
    lines += ["## Tables", ""]
    for path in tables:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(?<=\w-)\n(?=\w)", "", text)  # captions are wrapped after hyphens, too
        lines += [re.sub(r"^(#+) ", r"##\1 ", text, flags=re.M).rstrip(), ""]
    for study in sorted((folder / "figures").glob("*/")):
        lines += [f"## Figures: {study.name}", ""]
        for path in sorted(study.glob("*.svg")):
            shown = f"![{path.stem}]({name}/figures/{study.name}/{path.name})"
            lines += [f"### {path.stem}", "", shown, "", caption_of(path.stem, study.name, root), ""]
    return "\n".join(lines)


def caption_of(figure: str, study: str, root: Path = ROOT) -> str:
    """Caption of a figure, that of the report."""
    import jinja2

    template = jinja2.Template((root / "workflow/report/figure.rst").read_text(encoding="utf-8"))
    text = template.render(snakemake={"wildcards": {"figure": figure, "study": study}})
    return " ".join(text.split()).replace("``", "`")


def _tables(folder: Path) -> list[Path]:
    """Tables of a folder of results; those of the main question first."""
    return sorted((folder / "tables").glob("*.md"), key=lambda path: (path.stem not in ("main", "overview"), path.stem))


def _shown(folder: Path) -> list[Path]:
    """Files of a folder of results that its page shows or links to."""
    found = [path for pattern in ("figures/*/*.svg", "page*", "page*/**/*") for path in folder.glob(pattern)]
    return sorted(path for path in found if path.is_file())


# ------------------------------------------------------------------------------------------------------------- hooks


def on_config(config: Any) -> Any:
    """Write the pages of a folder into the navigation, where it says ``FOLDER/*`` (called by mkdocs)."""
    config.nav = expanded(config.nav)
    return config


def expanded(nav: list[Any]) -> list[Any]:
    """A navigation with the pages of its folders, and without optional pages that are not there."""
    made: list[Any] = []
    for entry in nav:
        match entry:
            case str() if entry.endswith("/*"):
                made += _pages_of(entry.removesuffix("/*"))
            case str():
                made.append(entry)
            case dict():
                ((title, value),) = entry.items()
                if value in OPTIONAL and not (ROOT / DOCS / value).is_file():
                    continue
                made.append({title: expanded(value) if isinstance(value, list) else value})
            case _:
                raise TypeError(f"mkdocs.yml: nav: found {entry!r}")
    return made


def _pages_of(folder: str) -> list[str]:
    """Pages of a folder but its first."""
    match folder:
        case "results":
            return [f"results/{name}.md" for name in RUNS]
        case "api":
            return [f"api/{name}.md" for name in API]
        case "settings":  # in the order of a configuration
            text = (ROOT / DOCS / "configuration.md").read_text(encoding="utf-8")
            return list(dict.fromkeys(re.findall(r"\((settings/[\w-]+\.md)\)", text)))
        case _:
            found = sorted((ROOT / DOCS / folder).glob("*.md"))
            return [f"{folder}/{path.name}" for path in found if path.name != "README.md"]


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages (called by mkdocs)."""
    from mkdocs.structure.files import File

    def page(path: str, text: str) -> None:
        files.append(File.generated(config, path, content=text))

    written = [one for one in files if one.is_documentation_page()]
    texts = {one.src_uri: Path(one.abs_src_path).read_text(encoding="utf-8") for one in written}
    for name, at in PAGES.items():
        texts[at] = (ROOT / name).read_text(encoding="utf-8")
        page(at, texts[at])
    for name in sorted({name for at, text in texts.items() for name in linked(text, at)}):
        page(f"repository/{name}.md", copied(name))
    page("api/index.md", api_index())
    for name in API:
        page(f"api/{name}.md", api_page(name))
    page("results/index.md", results_index())
    for name in RUNS:
        page(f"results/{name}.md", results_page(name))
        folder = ROOT / "results" / name
        for path in _shown(folder) if _tables(folder) else []:
            at = f"results/{name}/{path.relative_to(folder).as_posix()}"
            files.append(File.generated(config, at, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change links so that they work on the site (called by mkdocs)."""
    return relinked(markdown, page.file.src_uri)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Remove the roles of docstrings, which are not Markdown (called by mkdocs)."""
    return without_roles(html) if page.file.src_uri.startswith("api/") else html


def without_roles(html: str) -> str:
    """A page of the API, where ``:meth:`` and the like no longer stand before names."""
    return re.sub(r":(?:attr|class|data|exc|func|meth|mod|obj):(?=<code>|<a )", "", html)


if __name__ == "__main__":
    main()
