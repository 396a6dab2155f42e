"""Gates that jobs stand at until a test lets them go on: nothing that a test needs running may end before."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path
from typing import IO

#: Every bash of a job reads this first. One that is to train waits as long as a test has the file of its gate locked,
#: and holds as much memory as that file says. If the test is killed, the lock goes with it; where one part of a job is
#: killed before the others, those do not go on.
SCRIPT = """\
if [[ $BASH_EXECUTION_STRING =~ --output\\ checkpoint=([^ ]+)\\.safetensors ]]; then
    gate=$BRAIN2CLIP_GATES/${BASH_REMATCH[1]##*/}
    if [[ -e $gate ]]; then
        touch "$gate.reached"
        { head -c "$(< "$gate")M" /dev/zero; flock --shared "$gate" true; } | tail > /dev/null
        [[ ${PIPESTATUS[*]} == "0 0" ]] || exit 1
    fi
fi
"""


class Gates:
    """One gate per training, ``sub-01_seed-0``; open unless it was closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closed: dict[str, IO[str]] = {}
        folder.mkdir()
        (folder / "gate.sh").write_text(SCRIPT)

    @property
    def environment(self) -> dict[str, str]:
        """What a run and its jobs need to know."""
        return {"BASH_ENV": str(self.folder / "gate.sh"), "BRAIN2CLIP_GATES": str(self.folder)}

    def close(self, *checkpoints: str, megabytes: int = 0) -> None:
        """Let the trainings of these checkpoints wait, holding so much memory."""
        for path in checkpoints:
            file = (self.folder / Path(path).stem).open("w")
            file.write(str(megabytes))
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            self.closed[Path(path).stem] = file

    def open(self, names: Iterable[str] | None = None) -> None:
        """Let some go on, or all."""
        for name in list(self.closed if names is None else names):
            (self.folder / name).unlink()
            self.closed.pop(name).close()

    def reached(self) -> set[str]:
        """Gates that a training has come to."""
        return {path.stem for path in self.folder.glob("*.reached")}

    def forget(self) -> None:
        """Count those that come from now on."""
        for path in self.folder.glob("*.reached"):
            path.unlink()
