"""Networks of the library braindecode, which is imported only here and only if such a network is used."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from brain2clip.models.brain_encoder import Inputs
from brain2clip.models.encoder_layers import check_time
from brain2clip.names import suggestion
from brain2clip.settings import Braindecode
from brain2clip.stage import InputError

#: Message if the library is not installed.
NOT_THERE = (
    "encoder.kind: braindecode needs the library braindecode, which is not installed; install the extra "
    "(pip install 'brain2clip[braindecode]') or take another encoder.kind"
)


class Encoder(nn.Sequential):
    """A network of ``braindecode.models`` by its name, whose outputs are the embedding.

    It is built with the number of channels, samples and outputs and the sampling rate; all other arguments have their
    defaults.

    Parameters
    ----------
    settings : Braindecode
        Its ``width`` is the number of outputs.
    inputs : Inputs
        C, T and the sampling rate.

    Raises
    ------
    InputError
        Where braindecode is not there, cannot be imported, has no such network, or cannot build it for these responses.
    """

    def __init__(self, settings: Braindecode, inputs: Inputs) -> None:
        check_time("braindecode", inputs, "takes a time course of each channel")
        network = network_of(settings.model)
        shape = {"n_chans": inputs.n_channels, "n_times": inputs.n_times, "sfreq": inputs.sfreq}
        try:
            built = network(n_outputs=settings.width, **shape)
        except Exception as error:  # whatever a network of theirs says to what it cannot take
            given = ", ".join(f"{name} {value:g}" for name, value in shape.items())
            raise InputError(
                f"encoder.model: braindecode's {settings.model} cannot be built for {given}, n_outputs "
                f"{settings.width} ({_said(error)}); expected a network that takes these responses"
            ) from error
        super().__init__(built)


def network_of(name: str) -> Any:
    """Class of that name in ``braindecode.models``."""
    try:
        models = importlib.import_module("braindecode.models")
    except ModuleNotFoundError as error:
        if error.name in ("braindecode", "braindecode.models"):
            raise InputError(NOT_THERE) from None
        raise InputError(_broken(error)) from error
    except Exception as error:  # a library that was built for another torch fails in many ways
        raise InputError(_broken(error)) from error
    found = getattr(models, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        known = [one for one in dir(models) if isinstance(getattr(models, one), type)]
        raise InputError(f"encoder.model: braindecode.models has no network {name!r}{suggestion(name, known)}")
    return found


def _broken(error: Exception) -> str:
    """What an installed braindecode fails at."""
    return (
        f"encoder.kind: braindecode is installed, but cannot be imported ({_said(error)}); libraries that it needs "
        "(such as torchaudio) must match the installed torch: install matching versions, or take another encoder.kind"
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
