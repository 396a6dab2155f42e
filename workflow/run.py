"""Run a study for ``make``: snakemake, then the report where it is out of date, then the tables on the terminal."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="a complete configuration, e.g. workflow/demo.yaml")
    parser.add_argument("--cores", default="all", help="CPU cores to use")
    parser.add_argument("--report-only", action="store_true", help="make the report of what was run, and no more")
    given = parser.parse_args()
    results = ROOT / (yaml.safe_load(given.config.read_text(encoding="utf-8")).get("results") or "results")
    report = results / "report.zip"
    if not given.report_only:
        remove_stale_lock()
        snakemake(given.config, "--cores", given.cores, "--rerun-incomplete")
    if given.report_only or out_of_date(report, results / "tables"):
        snakemake(given.config, "--cores", "1", "--report", str(report.relative_to(ROOT)), "--quiet")
    if not given.report_only:
        show_tables(results / "tables")
    print(f"\nReport: {report.relative_to(ROOT)} (unpack it and open report.html in a browser)")


def snakemake(config: Path, *arguments: str) -> None:
    """Call snakemake in the root of the repository; its failure is ours."""
    command = [sys.executable, "-m", "snakemake", "--configfile", str(config), *arguments]
    try:
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        code = 130
    if code:
        sys.exit(code)


def remove_stale_lock() -> None:
    """Unlock the folder where a killed run left it locked and no other run is alive in it."""
    if not any((ROOT / ".snakemake" / "locks").glob("*")):
        return
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if "snakemake" in words and process.info["cwd"] == str(ROOT):
            sys.exit(f"Another snakemake (process {process.pid}) is running in this folder; wait for it or stop it.")
    for lock in (ROOT / ".snakemake" / "locks").glob("*"):
        lock.unlink()


def out_of_date(report: Path, tables: Path) -> bool:
    """Whether the report is missing or older than a table."""
    if not report.is_file():
        return True
    return any(table.stat().st_mtime > report.stat().st_mtime for table in tables.glob("*"))


def show_tables(tables: Path) -> None:
    """Print the Markdown tables."""
    for table in sorted(tables.glob("*.md")):
        print(f"\n== {table.stem} ({table.relative_to(ROOT)})\n")
        print(table.read_text(encoding="utf-8").strip())


if __name__ == "__main__":
    main()
