"""What brain2clip takes for granted of Snakemake's SLURM plugin, one assumption each.

What its executor does with a queue is in test_slurm_queue.py and, with a real one, in tests/slurm.
"""

from __future__ import annotations

import inspect
from types import CodeType, SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from brain2clip import slurm
from brain2clip.internals import slurm_plugin


def codes(function) -> list[CodeType]:
    """Code of a function and of what is defined in it."""
    found = [inspect.unwrap(function).__code__]
    for code in found:
        found += [one for one in code.co_consts if isinstance(one, CodeType)]
    return found


def names(function) -> set[str]:
    """Globals and attributes that a function reads or writes by name."""
    return {name for code in codes(function) for name in code.co_names}


def texts(function) -> str:
    return "\n".join(one for code in codes(function) for one in code.co_consts if isinstance(one, str))


def parameters(function) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.fixture
def restored(monkeypatch):
    """The plugin's module is put back after a test."""
    for name in slurm_plugin.FUNCTIONS:
        monkeypatch.setattr(plugin, name, getattr(plugin, name))


def test_snakemake_takes_the_executor_from_the_plugin_that_is_called_slurm():
    found = ExecutorPluginRegistry().get_plugin("slurm")
    assert found.cli_prefix == "slurm"
    assert found.executor is plugin.Executor
    assert issubclass(plugin.Executor, RemoteExecutor)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("run_jobs", ["jobs"]),
        ("run_array_jobs", ["jobs"]),
        ("format_job_exec", ["job"]),
        ("check_active_jobs", ["active_jobs"]),
        ("report_job_submission", ["job_info", "register_job"]),
        ("report_job_success", ["job_info"]),
    ],
)
def test_methods_that_are_extended_are_given_what_we_expect(method, given):
    assert parameters(getattr(plugin.Executor, method)) == given


def test_failures_are_reported_with_a_message_and_more():
    assert parameters(plugin.Executor.report_job_error)[:2] == ["job_info", "msg"]


def test_looks_at_the_queue_are_an_asynchronous_generator():
    assert inspect.isasyncgenfunction(plugin.Executor.check_active_jobs)


def test_the_plugin_asks_for_pending_jobs_and_states_by_names_in_its_module():
    assert "pending_jobs_for_rule" in names(plugin.Executor.run_jobs)
    assert parameters(plugin.pending_jobs_for_rule) == ["dag", "rule_name"]
    assert "query_job_status" in names(plugin.Executor.check_active_jobs)
    assert len(parameters(plugin.query_job_status)) == 2
    assert inspect.iscoroutinefunction(plugin.query_job_status)


def test_it_names_a_run_before_it_submits_and_jobs_in_the_queue_after_it():
    assert "run_uuid" in names(plugin.Executor.__post_init__)
    for method in ("run_job", "run_array_jobs", "check_active_jobs"):
        assert "run_uuid" in names(getattr(plugin.Executor, method))


def test_tasks_of_arrays_get_their_commands_as_we_take_them_apart():
    made = plugin.Executor.run_array_jobs
    assert f" {slurm.COMMANDS}" in texts(made)
    assert {"format_job_exec", "compress", "hex", "b64encode"} <= names(made)


def test_jobs_that_were_submitted_carry_their_log():
    for method in ("run_job", "run_array_jobs"):
        assert "slurm_logfile" in texts(getattr(plugin.Executor, method))
    assert parameters(SubmittedJobInfo)[:3] == ["job", "external_jobid", "aux"]


def test_pauses_are_a_property_of_remote_executors_and_begin_as_the_profile_says():
    pause = RemoteExecutor.next_seconds_between_status_checks
    assert pause.fset is not None
    assert "next_seconds_between_status_checks" in names(plugin.Executor.check_active_jobs)
    assert plugin.ExecutorSettings.__dataclass_fields__["init_seconds_before_status_checks"]
    one = SimpleNamespace()
    pause.fset(one, 7)
    assert pause.fget(one) == 7


def test_what_is_extended_is_there(restored, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # without squeue nobody is asked
    made = slurm_plugin.executor(slurm.Journal(tmp_path / "journal"))
    assert issubclass(made, plugin.Executor)
    assert set(slurm_plugin.METHODS) <= set(vars(made))
    assert plugin.pending_jobs_for_rule(None, "train") == 0


@pytest.mark.parametrize("name", [*slurm_plugin.FUNCTIONS, "Executor"])
def test_a_function_that_is_missing_stops_the_run(restored, monkeypatch, tmp_path, name):
    monkeypatch.delattr(plugin, name)
    with pytest.raises(WorkflowError, match=rf"snakemake_executor_plugin_slurm has no {name}, .*make env"):
        slurm_plugin.executor(slurm.Journal(tmp_path / "journal"))


def test_a_method_that_is_missing_stops_the_run(restored, monkeypatch, tmp_path):
    monkeypatch.delattr(plugin.Executor, "run_array_jobs")
    with pytest.raises(WorkflowError, match="Executor has no run_array_jobs, which brain2clip uses"):
        slurm_plugin.executor(slurm.Journal(tmp_path / "journal"))


@pytest.mark.parametrize(("prefix", "extended"), [("slurm", True), ("local", False), (None, False)])
def test_only_the_executor_of_slurm_is_extended_and_before_the_plan(restored, tmp_path, monkeypatch, prefix, extended):
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = None if prefix is None else SimpleNamespace(cli_prefix=prefix, executor=plugin.Executor)
    seen = []
    workflow = SimpleNamespace(executor_plugin=chosen)
    workflow._prepare_dag = lambda *given: seen.append(chosen and chosen.executor is not plugin.Executor)
    slurm_plugin.watch(workflow, str(tmp_path / "results"))
    workflow._prepare_dag(1)
    assert seen == [chosen and extended]
