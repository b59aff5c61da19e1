"""The trained models: what is done to them to be fast leaves what they say."""

import os
import signal
import threading
from importlib import import_module
from typing import Any

import numpy as np
import onnx
import pytest

from apps.dicom.burned_in import models
from apps.dicom.burned_in.fused import fused
from tests.dicom.burned_in import planted


@pytest.mark.parametrize(
    ("name", "shape"), [(models.DETECTION, (1, 3, 96, 160)), (models.RECOGNITION, (1, 3, 48, 168))]
)
def test_a_fused_model_says_what_it_said_before_in_fewer_steps(name: str, shape: tuple[int, ...]) -> None:
    letters = planted.drawn("Canary Zerlina", planted.font("DejaVuSans.ttf", 20))
    there = np.zeros(shape[2:], np.uint8)
    high, wide = min(letters.shape[0], shape[2] - 8), min(letters.shape[1], shape[3] - 8)
    there[4 : 4 + high, 4 : 4 + wide] = letters[:high, :wide]
    picture = np.broadcast_to(there.astype(np.float32) / 127.5 - 1, shape).copy()
    before, after = models.file_of(name).read_bytes(), fused(models.file_of(name))
    runtime: Any = import_module("onnxruntime")
    said = []
    for model in (before, after):
        session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
        said.append(session.run(None, {session.get_inputs()[0].name: picture})[0])
    assert said[0].max() > 0.5
    np.testing.assert_allclose(said[1], said[0], atol=1e-4)
    steps = [
        [node.op_type for node in onnx.load_from_string(model).graph.node if node.op_type != "Constant"]
        for model in (before, after)
    ]
    assert len(steps[1]) < 0.7 * len(steps[0])
    assert "Clip" not in steps[1]


def test_work_is_shared_by_threads_that_are_there_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_threads", 2)
    assert models.at_once(abs, [-1, -2, 3]) == [1, 2, 3]
    before = threading.active_count()
    both = threading.Barrier(2, timeout=30)
    # Each waits for the other: one thread alone would never come back.
    assert sorted(models.at_once(lambda _: both.wait(), range(2))) == [0, 1]
    assert threading.active_count() == before
    monkeypatch.setattr(models, "_threads", 1)
    assert models.at_once(lambda _: threading.current_thread(), range(2)) == [threading.current_thread()] * 2


def test_a_process_forked_after_lines_were_read_starts_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_threads", 2)
    assert models.at_once(abs, [-1, -2]) == [1, 2]
    child = os.fork()
    if child == 0:
        # Should it hang, the alarm ends it.
        signal.alarm(20)
        os._exit(0 if models.at_once(abs, [-3, 4]) == [3, 4] else 1)
    assert os.waitpid(child, 0)[1] == 0
