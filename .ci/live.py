"""Holds deploy/prometheus and deploy/grafana against the running thing: live.py BINARY PROMTOOL PROMETHEUS

Starts Touchmark before a small model server, and Prometheus, which scrapes it each second under the repository's alerts.
First all is well: no alert's expression may find anything. Then a model server answers as another version, calls name
an unknown model and a configuration is refused: now every expression of the dashboard must find something, and the
alerts meant for that must fire. What it starts, it ends, by its own handle.
"""

import contextlib
import functools
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import waiting

PATIENCE = 90
STEP = 0.2
until = functools.partial(waiting.until, patience=PATIENCE, step=STEP)

RULES = pathlib.Path("deploy/prometheus/touchmark.rules.yaml").resolve()
DASHBOARD = pathlib.Path("deploy/grafana/touchmark.json")
# What `promtool check metrics` may say of our metrics, since their names are a contract; with the reason beside it.
TOLERATED: dict[str, str] = {}
# Dashboard variables, as Grafana would put them in. Windows hold ten scrapes.
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*", "$model": ".*"}
# What says how fast this machine is, not whether all is well.
TIMED = {"TouchmarkLedgerCommitSlow", "TouchmarkOverheadHigh"}
# What must fire once there is mischief.
MISCHIEF = {"TouchmarkReloadRefused", "TouchmarkVersionMismatch"}

CONFIG = """
deployment: {{name: live}}
backends:
  - name: local
    url: http://127.0.0.1:{port}
    models:
      - {{name: fraud, version: v1.2.3, served_as: {{name: fraud, version: "1"}}, datasets: [transactions@v2.0]}}
      - {{name: pricing, version: v2.0.0, served_as: {{name: pricing, version: "1"}}, datasets: [prices@v1.0]}}
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: touchmark
    static_configs: [{{targets: ["{target}"]}}]
"""


class Model(http.server.BaseHTTPRequestHandler):
    """A model server that speaks V2 over REST."""

    protocol_version = "HTTP/1.1"
    served = "1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        known = "/models/unknown/" not in self.path
        name = "pricing" if "/pricing/" in self.path else "fraud"
        version = type(self).served if name == "pricing" else "1"
        output = {"name": "p", "shape": [1], "datatype": "FP64", "data": [0.25]}
        body = json.dumps({"model_name": name, "model_version": version, "outputs": [output]} if known else {}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Traffic(threading.Thread):
    """Calls through the proxy, some twenty a second, until told to stop."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.models, self.over, self.failed = address, ["fraud", "pricing"], threading.Event(), []

    def run(self):
        try:
            self.call()
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(("all", error))

    def stop(self):
        self.over.set()
        self.join()

    def call(self):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        while not self.over.wait(0.05):
            for model in list(self.models):
                connection.request("POST", f"/v2/models/{model}/infer", b'{"inputs":[]}')
                answer = connection.getresponse()
                answer.read()
                if answer.status != (404 if model == "unknown" else 200):
                    self.failed.append((model, answer.status))


def get(url):
    """The JSON or text behind a URL; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    except OSError:
        return None
    return json.loads(text) if text.startswith("{") else text


@contextlib.contextmanager
def running(arguments, log, **options):
    """A process that ends with the block; its log is shown where the block fails."""
    with open(log, "w") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    except BaseException:
        print(f"--- {log.name}\n{log.read_text()[-4000:]}", file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            sys.exit(f"{arguments[0]} does not stop")
    if status:
        sys.exit(f"{arguments[0]} ended with status {status}")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def expressions(dashboard):
    """Every expression of the dashboard, with where it stands."""
    for panel in dashboard["panels"]:
        targets = panel.get("targets", [])
        assert targets or panel["type"] == "row", f"{panel['title']}: asks for nothing"
        for target in targets:
            yield f"{panel['title']} ({target['refId']})", target["expr"]
    for note in dashboard["annotations"]["list"]:
        yield f"annotation {note['name']}", note["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            yield f"variable {variable['name']}", f"count by ({label}) ({series})"


def filled_in(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"{expression}: a variable that this check does not know"
    return expression


def check_shape(dashboard):
    """What Grafana would not complain of, and show nothing for."""
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)), "two panels have one id"
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, f"{panel['title']}: wider than the page"
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']}: lies on another panel"
        taken |= cells
        for asked in [panel, *panel.get("targets", [])]:
            source = asked.get("datasource", {}).get("uid")
            assert panel["type"] == "row" or source == "${datasource}", f"{panel['title']}: a datasource of its own"


def check_lint(promtool, text):
    """`promtool check metrics`: fails on what is not tolerated, and on what is tolerated and no longer said."""
    run = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    said = {line.strip() for line in (run.stdout + run.stderr).splitlines() if line.strip()}
    if said != set(TOLERATED) or (run.returncode and not said):
        sys.exit(f"promtool check metrics: status {run.returncode}, {sorted(said ^ set(TOLERATED))}")


class Asked:
    """Prometheus' API."""

    def __init__(self, address):
        self.address = address

    def query(self, expression):
        """The samples that are numbers; fails on an error."""
        answer = get(f"{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        if not answer or answer["status"] != "success":
            sys.exit(f"{expression}: {answer}")
        return [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]

    def rules(self):
        """Alerts by name, once each has been evaluated; fails on an error."""
        answer = get(f"{self.address}/api/v1/rules")
        alerts = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
        for alert in alerts:
            if alert["health"] == "err":
                sys.exit(f"{alert['name']}: {alert['lastError']}")
        return {alert["name"]: alert for alert in alerts} if all(alert["health"] == "ok" for alert in alerts) else None


def check_live(asked, traffic, mischief, dashboard):
    """All well, then mischief."""
    until("traffic is seen", lambda: asked.query("sum(rate(touchmark_predictions_total[10s])) > 0"))
    alerts = until("every alert was evaluated", asked.rules)
    for name, alert in alerts.items():
        if (found := asked.query(alert["query"])) and name not in TIMED:
            sys.exit(f"{name}: would fire while all is well: {found}")
    print(f"{len(alerts)} alerts, evaluated; none of those that do not depend on this machine finds anything while all is well")

    wanted = {where: filled_in(expression) for where, expression in expressions(dashboard)}
    count = len(wanted)

    def answered():
        mischief()
        for where in [where for where, expression in wanted.items() if asked.query(expression)]:
            del wanted[where]
        firing = {name for name, alert in asked.rules().items() if alert["state"] == "firing"}
        return not wanted and firing >= MISCHIEF

    deadline = time.monotonic() + PATIENCE
    while not answered():
        if time.monotonic() > deadline:
            sys.exit(f"nothing was found by {wanted}, or not all of {sorted(MISCHIEF)} fire")
        time.sleep(STEP)
    if traffic.failed:
        sys.exit(f"calls failed: {traffic.failed[:5]}")
    print(f"{count} expressions of {DASHBOARD}, each of which finds something; {', '.join(sorted(MISCHIEF))} fire")


def main(binary, promtool, prometheus):
    dashboard = json.loads(DASHBOARD.read_text())
    check_shape(dashboard)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(tempfile.mkdtemp())
        stack.callback(shutil.rmtree, scratch)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        good = CONFIG.format(port=server.server_port)
        config, data = scratch / "touchmark.yaml", scratch / "data"
        config.write_text(good)
        serve = [binary, "serve", "--config", config, "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOUCHMARK_", "OTEL_"))}
        touchmark = stack.enter_context(running(serve, scratch / "touchmark.log", env=environment))
        announced = data / "serve.json"
        where = json.loads(until("Touchmark starts", lambda: announced.exists() and announced.read_text()))
        traffic = Traffic(where["listen"].removeprefix("http://"))
        traffic.start()
        stack.callback(traffic.stop)

        until("a prediction was counted", lambda: "touchmark_predictions_total{" in (get(f"{where['admin']}/metrics") or ""))
        check_lint(promtool, get(f"{where['admin']}/metrics"))
        print("promtool check metrics: " + (f"tolerated: {TOLERATED}" if TOLERATED else "nothing"))

        file = scratch / "prometheus.yml"
        file.write_text(PROMETHEUS.format(rules=RULES, target=where["admin"].removeprefix("http://")))
        address = f"127.0.0.1:{free_port()}"
        options = [f"--config.file={file}", f"--storage.tsdb.path={scratch / 'tsdb'}", f"--web.listen-address={address}"]
        stack.enter_context(running([prometheus, *options], scratch / "prometheus.log"))
        until("Prometheus is ready", lambda: "Ready" in str(get(f"http://{address}/-/ready")))

        def mischief():
            Model.served = "7"
            traffic.models = ["fraud", "pricing", "unknown"]
            config.write_text("wieght: 1\n")
            touchmark.send_signal(signal.SIGHUP)

        check_live(Asked(f"http://{address}"), traffic, mischief, dashboard)


if __name__ == "__main__":
    main(*sys.argv[1:])
