"""What Triton serves as `words`, a decoupled model: an answer for each word. At the word `hold` it waits to be let go."""

import time
from pathlib import Path

import numpy
import triton_python_backend_utils as triton

# Seconds after which it goes on by itself, and between two looks.
HOLD, STEP = 30, 0.02


class TritonPythonModel:
    def initialize(self, arguments):
        self.release = Path(arguments["model_repository"]) / "release"

    def execute(self, requests):
        for request in requests:
            text = triton.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
            sender = request.get_response_sender()
            for word in text.split():
                if word == "hold":
                    self.hold()
                tensor = triton.Tensor("text_output", numpy.array([word.encode()], dtype=object))
                sender.send(triton.InferenceResponse([tensor]))
            sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def hold(self):
        deadline = time.monotonic() + HOLD
        while not self.release.exists() and time.monotonic() < deadline:
            time.sleep(STEP)
