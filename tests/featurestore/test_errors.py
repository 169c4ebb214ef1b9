"""The verdict on a failure: is another try worth it, and where?"""

from __future__ import annotations

import errno
import pickle
import urllib.error

import pytest
import torch

from featurestore.errors import (
    BackboneError,
    DatasetError,
    Failure,
    MissingFeaturesError,
    ProbeError,
    StoreError,
    verdict_on,
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ESTALE, "Stale file handle"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ],
)
def test_another_worker_may_do_better_where_the_machine_is_to_blame(error):
    assert verdict_on(error) == "machine"
    assert Failure.of(error).passing


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        PermissionError(errno.EACCES, "Permission denied"),
        TimeoutError(),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        urllib.error.URLError("no route"),
        ModuleNotFoundError("No module named 'cuml'"),
        StoreError("The disk is full"),
        MissingFeaturesError("No features yet"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_another_run_may_do_better_where_network_store_or_installation_are_to_blame(error):
    assert verdict_on(error) == "passing"
    assert Failure.of(error).passing


@pytest.mark.parametrize(
    "error",
    [
        BackboneError("Its output is not (batch, features)"),
        DatasetError("One class only"),
        ProbeError("Features must be finite"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("no"),
        KeyError("a"),
    ],
)
def test_what_is_wrong_in_itself_lasts(error):
    assert verdict_on(error) == "lasting"
    assert not Failure.of(error).passing


def test_a_failure_says_what_was_raised_and_where_and_travels():
    with pytest.raises(KeyError) as raised:
        {}["a"]
    failure = Failure.of(raised.value)
    assert failure.error == "KeyError"
    assert "(test_errors.py, line" in failure.message
    assert pickle.loads(pickle.dumps(failure)) == failure  # noqa: S301 - our own bytes


def test_our_own_errors_say_enough_without_a_place():
    with pytest.raises(DatasetError) as raised:
        raise DatasetError("One class only.")
    assert Failure.of(raised.value) == Failure("DatasetError", "One class only.")
