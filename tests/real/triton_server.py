"""The real Triton with two models in Python: started, waited for, stopped. Loopback only."""

import os
import shutil
from pathlib import Path

from servers import DEBIAN, HERE, SITE, Process, answers, free_ports

SERVER = SITE / "pytriton" / "tritonserver"
SUM = """
backend: "python"
input [{name: "x", data_type: TYPE_FP32, dims: [-1, 4]}]
output [{name: "sum", data_type: TYPE_FP32, dims: [-1]}]
version_policy: {all {}}
"""
WORDS = """
backend: "python"
model_transaction_policy: {decoupled: true}
input [{name: "text_input", data_type: TYPE_STRING, dims: [1]}]
output [{name: "text_output", data_type: TYPE_STRING, dims: [1]}]
"""


class Triton(Process):
    """Triton with `sum` in the versions 1 and 2, and with `words`, which answers in many parts."""

    def __init__(self, folder):
        models, backends = folder / "triton", folder / "triton-backends"
        for name, config, versions in (("sum", SUM, (1, 2)), ("words", WORDS, (1,))):
            for version in versions:
                (models / name / str(version)).mkdir(parents=True)
                shutil.copy(HERE / "triton_models" / f"{name}.py", models / name / str(version) / "model.py")
            (models / name / "config.pbtxt").write_text(config)
        # The backend looks for its stub, which runs the models, beside itself.
        shutil.copytree(SERVER / "backends" / "python", backends / "python")
        shutil.copy(SERVER / "python_backend_stubs" / "3.11" / "triton_python_backend_stub", backends / "python")
        self.release_file = models / "words" / "release"
        http, grpc, metrics = free_ports(3)
        self.http, self.grpc = f"127.0.0.1:{http}", f"127.0.0.1:{grpc}"
        command = [SERVER / "bin" / "tritonserver", "--model-repository", models, "--backend-directory", backends]
        for service, port in (("http", http), ("grpc", grpc), ("metrics", metrics)):
            command += [f"--{service}-address", "127.0.0.1", f"--{service}-port", str(port)]
        command += ["--allow-gpu-metrics", "false"]
        # Memory that it shares with its models, by a name that is found again when it was killed.
        self.shared = f"touchmark-real-{os.getpid()}-{http}-"
        command += ["--backend-config", f"python,shm-region-prefix-name={self.shared}"]
        environment = {
            "LD_LIBRARY_PATH": str(SITE / "nvidia_pytriton.libs"),
            "PATH": f"{DEBIAN}:{os.environ['PATH']}",
            "PYTHONPATH": str(SITE),
        }
        super().__init__("triton", folder, command, environment)

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"http://{self.http}/v2/health/ready"))

    def stop(self):
        status = super().stop()
        for region in Path("/dev/shm").glob(f"{self.shared}*"):
            region.unlink()
        return status

    def release(self):
        """Lets go what waits at the word `hold`, and what comes to it."""
        self.release_file.touch()

    def hold_again(self):
        self.release_file.unlink()
