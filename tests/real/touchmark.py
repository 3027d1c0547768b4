"""Touchmark before a model server: started, asked, stopped. Loopback only, on ports that the system chooses."""

import json
import subprocess
import urllib.request
from urllib.parse import urlsplit

from servers import Process, answers


class Touchmark(Process):
    """`touchmark serve` before one backend; `proxy`, `traces`, `lineage` add to those sections."""

    def __init__(self, binary, folder, backend, proxy=None, name="touchmark", traces=None, env=None, lineage=None):
        self.binary, self.data = binary, folder / name
        config = {
            "deployment": {"name": "real"},
            "proxy": {"listen": "127.0.0.1:0", **(proxy or {})},
            "admin": {"listen": "127.0.0.1:0"},
            "ledger": {"dir": str(self.data)},
            "telemetry": {"traces": traces or {}},
            "lineage": lineage or {},
            "backends": [backend],
        }
        # JSON is YAML.
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(config, indent=2))
        super().__init__(name, folder, [binary, "serve", "--config", path], env)

    def wait_until_ready(self):
        said = self.data / "serve.json"
        self.wait_for(said.exists)
        addresses = json.loads(said.read_text())
        self.listen, self.admin = (urlsplit(addresses[key]).netloc for key in ("listen", "admin"))
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
