"""Rotel, an OTLP collector that prints what arrives: started, waited for, read. Loopback only."""

import re
import socket

from servers import SITE, Process, free_ports

FIELD = re.compile(r"    (Trace ID|Parent ID|ID|Name|Kind|Status code)\s*: (.*)")
ATTRIBUTE = re.compile(r" +-> ([^:]+): (?:Slice\()?\w+\((.*?)\)+$")


class Collector(Process):
    """Takes spans over gRPC and over HTTP, and prints them."""

    def __init__(self, folder):
        ports = free_ports(2)
        self.endpoints = dict(zip(("grpc", "http/protobuf"), (f"http://127.0.0.1:{port}" for port in ports)))
        command = [SITE / "rotel" / "rotel-agent", "start", "--exporter", "blackhole", "--debug-log", "traces"]
        command += ["--debug-log-verbosity", "detailed", "--pid-file", folder / "rotel.pid"]
        for protocol, port in zip(("grpc", "http"), ports):
            command += [f"--otlp-{protocol}-endpoint", f"127.0.0.1:{port}"]
        self.ports = ports
        super().__init__("rotel", folder, command)

    def wait_until_ready(self):
        self.wait_for(lambda: all(listens(port) for port in self.ports))

    def spans(self):
        """Every span that has arrived whole: its fields, and its attributes by name."""
        spans = []
        for line in self.log().splitlines():
            if line.startswith("Span #"):
                spans.append({"attributes": {}})
            elif line.startswith(("ResourceSpans #", "ScopeSpans #")) or not spans:
                continue
            elif field := FIELD.fullmatch(line):
                spans[-1][field[1]] = field[2].strip()
            elif attribute := ATTRIBUTE.fullmatch(line):
                spans[-1]["attributes"][attribute[1]] = attribute[2]
        return spans


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False
