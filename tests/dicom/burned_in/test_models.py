"""The trained models: what is done to them to be fast leaves what they say."""

import threading
from importlib import import_module
from typing import Any

import numpy as np
import onnx
import pytest

from apps.dicom.burned_in import models
from apps.dicom.burned_in.fused import fused


@pytest.mark.parametrize(
    ("name", "shape"), [(models.DETECTION, (1, 3, 96, 160)), (models.RECOGNITION, (1, 3, 48, 168))]
)
def test_a_fused_model_says_what_it_said_before_in_fewer_steps(name: str, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    before, after = models.file_of(name).read_bytes(), fused(models.file_of(name))
    runtime: Any = import_module("onnxruntime")
    said = []
    for model in (before, after):
        session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
        said.append(session.run(None, {session.get_inputs()[0].name: picture})[0])
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
