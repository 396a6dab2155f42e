"""Hand a job to a loaded Python (``preloaded.py``), or become the Python that was asked for: CLIENT SOCKET ARGUMENT….

Started once for every job, so with nothing to load: ``python -I -S``.
"""

import array
import contextlib
import json
import os
import resource
import signal
import socket
import sys


def here() -> dict[str, object]:
    """What a job has of this process."""
    os.umask(umask := os.umask(0))
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "umask": umask,
        "cpus": sorted(os.sched_getaffinity(0)),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in names},
    }


def main(path: str, *arguments: str) -> None:
    """End as the job ends."""
    try:
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        streams = array.array("i", [0, 1, 2])
        server.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        told = server.makefile("rwb")
        told.write(json.dumps({"arguments": arguments, **here()}).encode() + b"\n")
        told.flush()
        answer = told.readline().split()
    except OSError:
        answer = []
    if answer[:1] != [b"process"]:
        os.execv(sys.executable, [sys.executable, *arguments])
    job = int(answer[1])

    def hand_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(job, number)

    # Ctrl-C in a terminal goes to the job as well, which ends by it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, hand_on)
    ending = told.readline()
    if not ending:
        print(f"The loaded Python that runs this job (process {job}) is gone.", file=sys.stderr)
        hand_on(signal.SIGTERM, None)
    code = int(ending or b"70")
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
