"""Give a job to the loaded Python (``preloaded.py``), or else run the ordinary Python: CLIENT SOCKET ARGUMENT….

It is started for every job and must start quickly, so it imports little: ``python -I -S``.
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
    """Properties of this process that the job must have."""
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
    """Let the loaded Python run the job, and end with the job's exit code or signal."""
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

    # Ctrl-C in a terminal also reaches the job, which then ends; so this process ignores it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, hand_on)
    ending = told.readline()
    if not ending:
        print(f"The loaded Python that runs this job (process {job}) is gone.", file=sys.stderr)
        hand_on(signal.SIGTERM, None)
    code = int(ending or b"70")
    if code < 0:
        with contextlib.suppress(OSError):  # not possible for SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
