"""A throwaway SLURM cluster on this machine: real daemons, nothing outside a temporary folder, nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

#: Programs of the Debian packages munge, slurm-wlm (slurmctld, slurmd, slurm-client), slurmdbd and mariadb-server.
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
FOR_ACCOUNTING = ("slurmdbd", "sacctmgr", "sacct", "mariadbd", "mariadb-install-db", "mariadb")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin", "/usr/local/sbin"])
#: Nothing that is waited for depends on how fast this machine is; what takes longer hangs.
PATIENCE_S = 1800
PR_SET_PDEATHSIG = 1
#: Environment variable of all daemons and jobs of a cluster.
MARK = "BRAIN2CLIP_THROWAWAY_CLUSTER"

#: The account of all jobs where there is accounting.
ACCOUNT = "brains"

SLURM_CONF = """\
ClusterName=throwaway
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
Prolog={folder}/prolog
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PlugStackConfig={folder}/plugstack.conf
MpiDefault=none
SwitchType=switch/none
ProctrackType={proctrack}
TaskPlugin=task/none
# Jobs that use more memory than they asked for are killed. By polling, which works where there are no control groups.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
# Nothing waits for long: this is for tests.
SchedulerParameters=sched_interval=2,sched_min_interval=100000,bf_interval=2,batch_sched_delay=1
KillWait=2
# A machine that is busy with other tests must not be taken for a dead node.
SlurmdTimeout=300
# How long srun waits for a controller that does not answer.
SlurmctldTimeout=10
InactiveLimit=0
ReturnToService=1
MinJobAge=36000
{accounting}
{nodes}
PartitionName=cpu Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""
WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


class NoCluster(RuntimeError):
    """This machine cannot have a throwaway cluster; the message says why."""


class Cluster:
    """A controller and nodes with a stand-in GPU each, on loopback.

    Attributes
    ----------
    folder : Path
        Holds configuration, state, logs and sockets.
    nodes : list of str
        Names of the nodes.
    """

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2, accounting: bool = False) -> None:
        missing = [name for name in (*NEEDED, *(FOR_ACCOUNTING if accounting else ())) if not found(name)]
        if missing:
            packages = "munge slurm-wlm" + (" slurmdbd mariadb-server" if accounting else "")
            raise NoCluster(f"{', '.join(missing)} not installed (Debian packages: {packages})")
        self.folder = folder
        self.accounting = accounting
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.user = getpass.getuser()
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = free_ports(nodes + 3)
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in [name for name in self.environment if name.startswith(("SLURM_", "SBATCH_", "SRUN_"))]:
            if name != "SLURM_CONF":
                del self.environment[name]
        self.environment["PATH"] = os.pathsep.join([str(folder / "bin"), PATH])
        self.environment[MARK] = str(folder)
        self._write(cpus)

    def _write(self, cpus: int) -> None:
        folder = self.folder
        folder.mkdir(parents=True, mode=0o755)
        for name in ("bin", "munge", "state", "database", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir(mode=0o755)
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        # Snakemake starts steps without the variables of SLURM: on other clusters srun finds its configuration in /etc.
        srun = folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nexport SLURM_CONF="{folder}/slurm.conf"\nexec {found("srun")} "$@"\n')
        srun.chmod(0o755)
        # A node that must not start anything cannot run this.
        prolog = folder / "prolog"
        prolog.write_text(f'#!/bin/sh\n[ ! -e "{folder}/refused" ]\n')
        prolog.chmod(0o755)
        (folder / "plugstack.conf").touch()
        (folder / "cgroup.conf").touch()
        nodes = "\n".join(
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=200000"
            " Gres=gpu:1 State=UNKNOWN"
            for node, port in zip(self.nodes, self.ports[3:])
        )
        accounting = "AccountingStorageType=accounting_storage/none"
        if self.accounting:
            accounting = WITH_ACCOUNTING.format(folder=folder, port=self.ports[1])
            password = secrets.token_hex(16)
            self.password = password
            database = folder / "slurmdbd.conf"
            database.write_text(
                SLURMDBD_CONF.format(
                    folder=folder, user=self.user, port=self.ports[1], database=self.ports[2], password=password
                )
            )
            database.chmod(0o600)
        # Without root a process tree can only be followed by its session.
        proctrack = "proctrack/linuxproc" if os.geteuid() == 0 else "proctrack/pgid"
        (folder / "slurm.conf").write_text(
            SLURM_CONF.format(
                folder=folder,
                user=self.user,
                controller=self.ports[0],
                nodes=nodes,
                accounting=accounting,
                proctrack=proctrack,
            )
        )
        # A file that any machine has stands for the device; jobs get its number in CUDA_VISIBLE_DEVICES.
        (folder / "gres.conf").write_text("".join(f"NodeName={node} Name=gpu File=/dev/null\n" for node in self.nodes))

    # ------------------------------------------------------------------------------------------- daemons

    def start(self) -> None:
        """Start everything and wait until all nodes are idle."""
        munge = self.folder / "munge"
        self.start_daemon(
            "munged",
            *("munged", "--foreground", "--force", f"--socket={munge}/socket", f"--key-file={munge}/key"),
            *(f"--log-file={munge}/log", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed", "--num-threads=2"),
        )
        self.wait("munged", lambda: (munge / "socket").exists())
        if self.accounting:
            self._start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait("nodes", lambda: self.states() == dict.fromkeys(self.nodes, "idle"))

    def start_controller(self) -> None:
        self.start_daemon("slurmctld", "slurmctld", "-D")

    def keep_state(self) -> None:
        """Let the controller write down what it knows; :meth:`crash` goes back to this."""
        self.kill("slurmctld", signal.SIGTERM)
        shutil.rmtree(self.folder / "kept", ignore_errors=True)
        shutil.copytree(self.folder / "state", self.folder / "kept")
        self.restart_controller()

    def crash(self) -> None:
        """Kill the controller before it has written down what it did since :meth:`keep_state`."""
        self.kill("slurmctld")
        shutil.rmtree(self.folder / "state")
        shutil.copytree(self.folder / "kept", self.folder / "state")

    def restart_controller(self) -> None:
        """Start the controller again and wait until it answers."""
        self.start_controller()
        self.wait("controller", lambda: self.ask("squeue", "--noheader").returncode == 0)

    def start_node(self, node: str) -> None:
        self.start_daemon(node, "slurmd", "-D", "-N", node)

    def _start_accounting(self) -> None:
        data, port = self.folder / "database", self.ports[2]
        plain = ["--no-defaults", f"--datadir={data}", f"--user={self.user}"]
        self.call("mariadb-install-db", *plain, "--auth-root-authentication-method=normal", "--skip-test-db")
        self.start_daemon(
            "mariadbd",
            *("mariadbd", *plain, "--bind-address=127.0.0.1", f"--port={port}", f"--socket={self.folder}/sql"),
            *(f"--pid-file={self.folder}/mariadbd.pid", "--innodb-flush-log-at-trx-commit=2"),
        )
        client = ["mariadb", "--no-defaults", f"--socket={self.folder}/sql", "--user=root", "--execute"]
        self.wait("mariadbd", lambda: self.ask(*client, "select 1").returncode == 0)
        for host in ("localhost", "127.0.0.1"):
            self.call(*client, f"grant all on slurm.* to slurm@'{host}' identified by '{self.password}'")
        # It finds its configuration beside that of the cluster.
        self.start_daemon("slurmdbd", "slurmdbd", "-D")
        self.wait("slurmdbd", lambda: self.ask("sacctmgr", "--noheader", "list", "cluster").returncode == 0)
        manage = ("sacctmgr", "--immediate")
        self.call(*manage, "add", "cluster", "throwaway")
        self.call(*manage, "add", "account", ACCOUNT, "Description=tests", "Organization=tests")
        self.call(*manage, "add", "user", self.user, f"Account={ACCOUNT}")

    def start_daemon(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground; it goes with this process, however that ends."""
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(
                [found(command[0]), *command[1:]],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=dies_with_us,
            )

    def kill(self, name: str, how: int = signal.SIGKILL) -> None:
        """End a daemon."""
        self.daemons[name].send_signal(how)
        self.daemons.pop(name).wait(timeout=PATIENCE_S)

    def stop(self) -> None:
        """End all jobs, all daemons, and whatever of them is left."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.ask("scancel", "--full", "--signal=KILL", "--user", self.user, timeout=10)
            self.ask("scancel", "--user", self.user, timeout=10)
        for name in [*self.nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"]:
            if name in self.daemons:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.daemons[name].terminate()
                    self.daemons[name].wait(timeout=10)
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def processes(self) -> list[psutil.Process]:
        """Daemons and jobs of this cluster: what has its mark in the environment."""
        return self._with(MARK, str(self.folder))

    def processes_of(self, job: str) -> list[psutil.Process]:
        """What runs of a job, whatever the controller knows of it."""
        mine = self.processes()
        return [process for process in self._with("SLURM_JOB_ID", job) if process in mine]

    def _with(self, name: str, value: str) -> list[psutil.Process]:
        """Processes with a variable in the environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(name) == value:
                    found.append(process)
        return found

    # ------------------------------------------------------------------------------------------ commands

    def ask(self, *command: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Call a command of the cluster, whatever comes of it."""
        return subprocess.run(
            [found(command[0]), *command[1:]],
            env=self.environment, capture_output=True, text=True, timeout=timeout, cwd=self.folder,
        )  # fmt: skip

    def call(self, *command: str) -> str:
        """Output of a command that must succeed."""
        done = self.ask(*command)
        if done.returncode:
            raise NoCluster(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """State of each node."""
        done = self.ask("sinfo", "--Node", "--noheader", "--format=%N %T")
        return dict(line.split() for line in done.stdout.splitlines())

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait for a daemon; when one has ended, say what it said."""
        end = time.monotonic() + PATIENCE_S
        while not ready():
            for name, daemon in self.daemons.items():
                if daemon.poll() is not None:
                    raise NoCluster(f"{name} ended while starting:\n{self.said(name)}")
            if time.monotonic() > end:
                raise NoCluster(f"{what} not ready after {PATIENCE_S} s:\n{self.said('slurmctld')}")
            time.sleep(0.1)

    def said(self, name: str) -> str:
        """Last lines of the logs of a daemon."""
        logs = [self.folder / f"{name}.out", self.folder / f"{name}.log", self.folder / f"slurmd-{name}.log"]
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in logs if path.exists())


def found(program: str) -> str | None:
    """Path of a program, also where it is not for everybody."""
    return shutil.which(program, path=PATH)


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def dies_with_us() -> None:
    """Ask the kernel to end this process when its parent ends (a test run that is killed leaves no daemon)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def running(folder: Path, **given: int) -> Iterator[Cluster]:
    """A cluster for a while; the tests that want it are skipped, with the reason, where there can be none."""
    try:
        cluster = Cluster(folder, **given)
    except NoCluster as reason:
        pytest.skip(f"no SLURM cluster: {reason}")
    try:
        try:
            cluster.start()
        except NoCluster as reason:
            # Where the packages are installed and root starts them, they must start: that is a failure, not a reason.
            if os.geteuid() == 0:
                raise
            pytest.skip(f"no SLURM cluster as {cluster.user}: {reason}")
        yield cluster
    finally:
        cluster.stop()
