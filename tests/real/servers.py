"""Model servers with small models: started, waited for, stopped. Loopback only."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Seconds that a server may take to start, or to come to what is waited for, and to stop.
START, STOP = 90, 30
# Seconds that the children of a server that has ended may take to follow it.
FOLLOW = 5
# Seconds between two looks.
STEP = 0.1
# Where the servers' programs are, and what they serve.
PROGRAMS, HERE = Path(sys.executable).parent, Path(__file__).parent
# Where those are that run on Debian's own Python, and their packages.
DEBIAN = Path(os.environ["DEBIAN_VENV"]).resolve() / "bin"
SITE = DEBIAN.parent / "lib" / "python3.11" / "site-packages"


def free_ports(count):
    """Ports that nobody has, held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Process:
    """A process of ours with a log, ended by its id at the end of the block, and its children with it."""

    def __init__(self, name, folder, command, env=None):
        self.name = name
        self.path = folder / f"{name}.log"
        with self.path.open("wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            env = {**os.environ, **(env or {})}
            # A session of its own: its id is that of all its children, too.
            self.process = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **streams)

    def __enter__(self):
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_for(self, ready):
        deadline = time.monotonic() + START
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not come to it:\n{self.log()}")
            time.sleep(STEP)

    def stop(self):
        """Asks for an orderly stop, and gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.end_children()
        return self.process.returncode

    def kill(self):
        """Ends it at once with its children, as a crash would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end_children(self):
        deadline = time.monotonic() + FOLLOW
        try:
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, 0)
                time.sleep(STEP)
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # All are gone.

    def log(self):
        return self.path.read_text(errors="replace")


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class MLServer(Process):
    """MLServer with logistic regression on the iris data, as version v1."""

    def __init__(self, folder):
        import joblib
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression

        models = folder / "models" / "iris"
        models.mkdir(parents=True)
        joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), models / "model.joblib")
        (models / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": "iris",
                    "implementation": "mlserver_sklearn.SKLearnModel",
                    "parameters": {"uri": "./model.joblib", "version": "v1"},
                }
            )
        )
        http, grpc, metrics = free_ports(3)
        (folder / "models" / "settings.json").write_text(
            json.dumps(
                {
                    "host": "127.0.0.1",
                    "http_port": http,
                    "grpc_port": grpc,
                    "metrics_port": metrics,
                    "parallel_workers": 0,
                }
            )
        )
        self.http, self.grpc = f"127.0.0.1:{http}", f"127.0.0.1:{grpc}"
        command = [PROGRAMS / "mlserver", "start", folder / "models"]
        super().__init__("mlserver", folder, command)

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"http://{self.http}/v2/models/iris/ready"))


class LitServe(Process):
    """LitServe with `litserve_app.py`."""

    def __init__(self, folder):
        (port,) = free_ports(1)
        self.http = f"127.0.0.1:{port}"
        super().__init__("litserve", folder, [sys.executable, HERE / "litserve_app.py", str(port)])

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"http://{self.http}/health"))


class MLflow(Process):
    """`mlflow models serve` with `mlflow_model.py`, saved as MLflow saves models."""

    def __init__(self, folder):
        import mlflow.pyfunc

        # It would say that a model without an example has no signature.
        logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)
        # No requirements: MLflow would load the model in a process of its own to find some.
        mlflow.pyfunc.save_model(folder / "sum", python_model=HERE / "mlflow_model.py", pip_requirements=[])
        (port,) = free_ports(1)
        self.http = f"127.0.0.1:{port}"
        command = [PROGRAMS / "mlflow", "models", "serve", "-m", folder / "sum", "--env-manager", "local"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        # It starts uvicorn by its name.
        super().__init__("mlflow", folder, command, {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"})

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"http://{self.http}/ping"))
