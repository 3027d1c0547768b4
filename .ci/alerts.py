"""Checks that no alert is without tests, or without an entry in the runbook: alerts.py

An alert needs a test in which it fires and one in which it does not, a severity, what it says, and a link to its own
heading in docs/runbook.md; the entry has all its parts. An entry or a test without an alert is a finding too.
"""

import pathlib
import re
import sys

import yaml

PROMETHEUS = pathlib.Path("deploy/prometheus")
RUNBOOK = pathlib.Path("docs/runbook.md")
SEVERITIES = {"critical", "warning"}
PARTS = ["**Means.**", "**Users see.**", "**First.**", "```sh", "**Likely.**", "**Mend.**"]


def findings(rules, tests, runbook):
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    cases = [case for test in tests["tests"] for case in test["alert_rule_test"]]
    entries = dict(re.findall(r"^## (Touchmark\w+)\n(.*?)(?=^## |\Z)", runbook, re.M | re.S))
    for name, alert in alerts.items():
        for fires, what in [(True, "fires"), (False, "does not fire")]:
            if not any(case["alertname"] == name and bool(case["exp_alerts"]) == fires for case in cases):
                yield f"{name}: no test in which it {what}"
        if alert["labels"].get("severity") not in SEVERITIES:
            yield f"{name}: severity is none of {sorted(SEVERITIES)}"
        for annotation in ["summary", "description"]:
            if not alert["annotations"].get(annotation):
                yield f"{name}: no {annotation}"
        if alert["annotations"].get("runbook_url") != f"{RUNBOOK}#{name.lower()}":
            yield f"{name}: runbook_url does not lead to its entry"
        if name not in entries:
            yield f"{name}: no entry in {RUNBOOK}"
        else:
            yield from (f"{name}: its entry has no {part}" for part in PARTS if part not in entries[name])
    yield from (f"{RUNBOOK}: {name} is no alert" for name in entries.keys() - alerts.keys())
    yield from (f"the tests: {name} is no alert" for name in {case["alertname"] for case in cases} - alerts.keys())


def check_itself():
    """What is missing is found."""
    link = {"summary": "s", "description": "d", "runbook_url": f"{RUNBOOK}#touchmarka"}
    alert = {"alert": "TouchmarkA", "labels": {"severity": "warning"}, "annotations": link}
    rules = {"groups": [{"rules": [alert]}]}
    fires, quiet = ({"alertname": "TouchmarkA", "exp_alerts": found} for found in ([{}], []))
    tests = {"tests": [{"alert_rule_test": [fires, quiet]}]}
    runbook = "## TouchmarkA\n" + "\n".join(PARTS)
    assert not list(findings(rules, tests, runbook))
    assert len(list(findings(rules, {"tests": [{"alert_rule_test": [fires]}]}, runbook))) == 1
    assert len(list(findings(rules, {"tests": [{"alert_rule_test": [quiet]}]}, runbook))) == 1
    assert len(list(findings(rules, tests, "## TouchmarkB\n"))) == 2
    assert len(list(findings(rules, tests, "## TouchmarkA\n"))) == len(PARTS)


def main():
    check_itself()
    rules, tests = (yaml.safe_load((PROMETHEUS / f"touchmark.rules{kind}.yaml").read_text()) for kind in ["", ".test"])
    found = list(findings(rules, tests, RUNBOOK.read_text()))
    sys.exit("\n".join(found) or None)


if __name__ == "__main__":
    main()
