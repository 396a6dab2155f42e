"""Some of the configurations of ``make attack``, and that it notices what it looks for."""

from __future__ import annotations

import configurations

from brain2clip import settings


def test_a_changed_configuration_is_refused_with_its_key_or_planned():
    assert configurations.run(300, seed=1).failures == []


def test_other_errors_and_refusals_without_the_key_are_noticed(monkeypatch):
    monkeypatch.setattr(configurations, "misprinted", lambda *_: ("a: 1", "nothing"))
    monkeypatch.setattr(settings, "load", lambda raw, source: {}["x"])
    report = configurations.run(5, seed=1)
    assert report.tried == len(report.failures) == 5
    assert all("KeyError: 'x'" in line for line in report.failures)

    def vague(raw, source):
        raise settings.SettingsError(f"{source}: something is wrong")

    monkeypatch.setattr(configurations, "plannable", lambda _: False)
    monkeypatch.setattr(settings, "load", vague)
    mutants = [line for line in configurations.run(20, seed=1).failures if "in: mine.yaml: something is wrong" in line]
    assert len(mutants) > 10
