"""MLServer with a small model, and Touchmark before it: started, waited for, stopped. Loopback only."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Seconds that a server may take to start, and to stop.
START, STOP = 90, 30
# Seconds between two looks.
STEP = 0.1


def free_ports(count):
    """Ports that nobody has, held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Process:
    """A process of ours with a log, ended by its id at the end of the block."""

    def __init__(self, name, folder, command, env=None):
        self.name = name
        self.path = folder / f"{name}.log"
        with self.path.open("wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.process = subprocess.Popen(command, cwd=folder, env={**os.environ, **(env or {})}, **streams)

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
                raise SystemExit(f"{self.name} did not start:\n{self.log()}")
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
        return self.process.returncode

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
        command = [Path(sys.executable).parent / "mlserver", "start", folder / "models"]
        super().__init__("mlserver", folder, command)

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"http://{self.http}/v2/models/iris/ready"))


class Touchmark(Process):
    """`touchmark serve` before it, on ports that the system chooses."""

    def __init__(self, binary, folder, server):
        self.binary, self.data = binary, folder / "data"
        config = {
            "deployment": {"name": "real"},
            "proxy": {"listen": "127.0.0.1:0"},
            "admin": {"listen": "127.0.0.1:0"},
            "ledger": {"dir": str(self.data)},
            "backends": [
                {
                    "name": "mlserver",
                    "url": f"http://{server.http}",
                    "grpc_url": f"http://{server.grpc}",
                    "models": [
                        {
                            "name": "iris",
                            "version": "v1.2.3",
                            "served_as": {"name": "iris", "version": "v1"},
                            "datasets": ["iris@1936"],
                            "decision": "/outputs/0/data/0",
                        }
                    ],
                }
            ],
        }
        # JSON is YAML.
        (folder / "touchmark.yaml").write_text(json.dumps(config, indent=2))
        super().__init__("touchmark", folder, [binary, "serve", "--config", folder / "touchmark.yaml"])

    def wait_until_ready(self):
        said = self.data / "serve.json"
        self.wait_for(said.exists)
        addresses = json.loads(said.read_text())
        self.listen, self.admin = (addresses[key].removeprefix("http://") for key in ("listen", "admin"))
        self.wait_for(lambda: answers(f"http://{self.admin}/readyz"))

    def audit(self, *arguments):
        """What `touchmark audit … --json` gives; nothing found is no failure."""
        command = [self.binary, "audit", *arguments, "--json", "--data", self.data]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if found.returncode not in (0, 1):
            raise SystemExit(f"{command}: {found.stderr}")
        return [json.loads(line) for line in found.stdout.splitlines()]

    def metrics(self):
        """Series and values."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        series = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return [(name, float(value)) for name, value in series]
