"""Envoy before Touchmark, behind it and on both sides, and Triton behind all: REST in both versions of HTTP, and gRPC.

Directly means Triton itself: what comes through Touchmark and Envoy is compared with that.
"""

import json
import re
import secrets
import subprocess

import grpc
from tritonclient.grpc import service_pb2

from checks import JSON, Model, books, check, post, same, sha256
from envoy_proxy import Envoy
from on_triton import BY_SERVED, DECLARED, ROWS, row_body
from servers import free_ports
from touchmark import Touchmark
from triton_server import Triton
from triton_streams import STREAM, WORDS

UNARY = "/inference.GRPCInferenceService/ModelInfer"
# What a client could make up.
FORGED = {"x-model-version": "forged", "x-lineage-trace-id": "forged", "x-forwarded-for": "192.0.2.1"}


class Way:
    """A way to Triton through one Touchmark: where it begins, and what `back` sees of it."""

    def __init__(self, name, address, touchmark, envoy, via=None, hops=None, protocol=None):
        self.name, self.address, self.touchmark, self.envoy = name, address, touchmark, envoy
        # Of what `back` saw, where it stands on this way: `Via`; of `X-Forwarded-For` the first, the last and their
        # number (for a caller on loopback, Envoy names an address of the machine's); the protocol of REST.
        self.via, self.hops, self.protocol = via, hops, protocol

    def caller(self):
        """What a caller says: a trace of its own, an id of its own, and what is none of its business."""
        trace, span = secrets.token_hex(16), secrets.token_hex(8)
        return {"traceparent": f"00-{trace}-{span}-01", "x-request-id": secrets.token_hex(4), **FORGED}

    def followed(self, what, said, prediction, protocol):
        """The caller's trace and id stand in the entry, and at the server's door with what we add."""
        [entry] = self.touchmark.audit("find", "--prediction", prediction)
        _, trace, span, _ = said["traceparent"].split("-")
        ids = entry["trace"], entry["client_request_id"]
        check(f"{what}: the entry has the caller's ids", ids == (trace, said["x-request-id"]), entry)
        if not self.via:
            return
        seen = self.envoy.saw("back", said["x-request-id"])
        check(f"{what}: {protocol}", seen["protocol"] == protocol, seen)
        check(f"{what}: the server is told the id", seen["x-lineage-trace-id"] == prediction, seen)
        version, on, parent, flags = seen["traceparent"].split("-")
        continued = (version, on, flags) == ("00", trace, "01") and parent not in (span, entry["span"])
        check(f"{what}: the trace goes on", continued, seen)
        self.fields(what, seen)

    def fields(self, what, seen):
        """What a gateway says of itself and of who asked."""
        via = [one.strip() for one in seen["via"].split(",")]
        check(f"{what}: Via", [re.sub(r"^(1\.1|2\.0) ", "", one) for one in via] == self.via, seen)
        hops = seen["x-forwarded-for"].replace(" ", "").split(",")
        check(f"{what}: X-Forwarded-For", [hops[0], hops[-1], len(hops)] == self.hops, seen)
        nodes = seen["forwarded"].split(", ")
        check(f"{what}: Forwarded", len(nodes) == 1 and "for=127.0.0.1" in nodes[0] and "proto=http" in nodes[0], seen)
        check(f"{what}: X-Forwarded-Proto", seen["x-forwarded-proto"] == "http", seen)


def rest(way, server):
    """HTTP/1.1, byte for byte."""
    what, said, body = f"{way.name}, HTTP/1.1", way.caller(), row_body(f"{way.name}, HTTP/1.1")
    path = "/v2/models/sum/versions/1/infer"
    before, direct = post(server.http, path, body, JSON)
    answer, through = post(way.address, path, body, {**JSON, **said})
    same(what, (before.status, direct), (answer.status, through))
    prediction = BY_SERVED["1"].stamped(what, answer.getheaders())
    BY_SERVED["1"].one_entry(what, way.touchmark, body, through, id=prediction, observed_version="1")
    way.followed(what, said, prediction, way.protocol)


def curl(address, path, body, fields):
    """One call over HTTP/2 in the clear: status, fields, body."""
    command = ["curl", "-s", "--http2-prior-knowledge", "-D", "-", "--data-binary", body]
    for name, value in {**JSON, **fields}.items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run([*command, f"http://{address}{path}"], capture_output=True, check=True, timeout=30).stdout
    head, _, data = output.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first.split(" ")[:2], [line.split(": ", 1) for line in lines], data


def http2(way, server):
    """HTTP/2, byte for byte, whole and as events."""
    what, said, body = f"{way.name}, HTTP/2", way.caller(), row_body(f"{way.name}, HTTP/2")
    path = "/v2/models/sum/versions/2/infer"
    _, direct = post(server.http, path, body, JSON)
    status, fields, through = curl(way.address, path, body, said)
    same(what, (["HTTP/2", "200"], direct), (status, through))
    prediction = BY_SERVED["2"].stamped(what, fields)
    BY_SERVED["2"].one_entry(what, way.touchmark, body, through, id=prediction, observed_version="2")
    way.followed(what, said, prediction, way.protocol)

    what, said = f"{way.name}, events", way.caller()
    body = json.dumps({"text_input": f"events {way.name}"}).encode()
    _, direct = post(server.http, "/v2/models/words/generate_stream", body, JSON)
    status, fields, through = curl(way.address, "/v2/models/words/generate_stream", body, said)
    same(what, (["HTTP/2", "200"], direct), (status, through))
    prediction = Model(WORDS).stamped(what, fields)
    Model(WORDS).one_entry(what, way.touchmark, body, through, id=prediction, observed_version="1")


def unary(way, server):
    """gRPC, one message; its status is a trailer."""
    what, said = f"{way.name}, gRPC", way.caller()
    message = service_pb2.ModelInferRequest(model_name="sum", model_version="1", id=what)
    message.inputs.add(name="x", datatype="FP32", shape=ROWS.shape)
    message.raw_input_contents.append(ROWS.tobytes())
    body = message.SerializeToString()
    with grpc.insecure_channel(server.grpc) as there, grpc.insecure_channel(way.address) as here:
        direct = there.unary_unary(UNARY)(body, timeout=30)
        through, call = here.unary_unary(UNARY).with_call(body, timeout=30, metadata=list(said.items()))
        same(what, direct, through)
        prediction = BY_SERVED["1"].stamped(what, call.initial_metadata())
        expected = {"id": prediction, "protocol": "oip-grpc", "observed_version": "1"}
        BY_SERVED["1"].one_entry(what, way.touchmark, body, through, **expected)
        way.followed(what, said, prediction, "HTTP/2")
        message.model_name = "unknown"
        bad, failures = message.SerializeToString(), []
        for channel in (there, here):
            try:
                channel.unary_unary(UNARY)(bad, timeout=30)
            except grpc.RpcError as error:
                failures.append((error.code(), error.details()))
        same(f"{what}, an unknown model", *(failures or ["none failed", ""]))


def stream(way, server):
    """gRPC, many answers."""
    what = f"{way.name}, gRPC stream"
    message = service_pb2.ModelInferRequest(model_name="words", model_version="1", id=what)
    text = message.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    text.contents.bytes_contents.append(b"through three servers")
    body = message.SerializeToString()
    with grpc.insecure_channel(server.grpc) as there, grpc.insecure_channel(way.address) as here:
        direct = list(there.stream_stream(STREAM)(iter([body]), timeout=30))
        call = here.stream_stream(STREAM)(iter([body]), timeout=30)
        through = list(call)
        same(what, direct, through)
        check(f"{what}: three answers and a good end", (len(through), call.code()) == (3, grpc.StatusCode.OK), through)
        prediction = Model(WORDS).stamped(what, call.initial_metadata())
    Model(WORDS).one_entry(what, way.touchmark, body, b"".join(through), id=prediction, protocol="oip-grpc")


def own_id(way):
    """Where the client has no id, Envoy's is kept."""
    what, body = f"{way.name}, Envoy's own id", row_body("Envoy's own id")
    answer, _ = post(way.address, "/v2/models/sum/infer", body, JSON)
    prediction = BY_SERVED["2"].stamped(what, answer.getheaders())
    [entry] = way.touchmark.audit("find", "--prediction", prediction)
    seen = way.envoy.saw("back", entry.get("client_request_id"))
    check(f"{what}: kept from one Envoy to the other", seen["x-lineage-trace-id"] == prediction, seen)


def gone(way):
    """A server that is away behind Envoy: Envoy's own answer is an answer, recorded and stamped as it was declared."""
    what, body = f"{way.name}, the server is away", row_body(f"{way.name}, away")
    path, fields = "/v2/models/sum/versions/1/infer", {**JSON, "x-gone": "1"}
    before, direct = post(way.envoy.back, path, body, fields)
    answer, through = post(way.address, path, body, fields)
    same(what, (before.status, direct), (answer.status, through))
    check(f"{what}: 503, in Envoy's words", answer.status == 503 and b"upstream connect error" in through, through)
    prediction = BY_SERVED["1"].stamped(what, answer.getheaders())
    # By its id: Envoy may answer before the input has come, which then has no hash.
    [entry] = way.touchmark.audit("find", "--prediction", prediction)
    said = [entry["outcome"], entry["version"], entry["output"]["status"], entry["output"]["hash"]]
    check(f"{what}: the entry says so", said == ["complete", "v1.0.0", 503, sha256(through)], entry)
    check(f"{what}: and has no hash of half an input", entry["input"].get("hash", sha256(body)) == sha256(body), entry)

    message, failures = service_pb2.ModelInferRequest(model_name="sum", id=what).SerializeToString(), []
    for address in (way.envoy.back, way.address):
        with grpc.insecure_channel(address) as channel:
            try:
                channel.unary_unary(UNARY)(message, timeout=30, metadata=[("x-gone", "1")])
            except grpc.RpcError as error:
                failures.append((error.code(), error.details()))
    same(f"{what}, gRPC", *(failures or ["none failed", ""]))
    entry = way.touchmark.audit("find")[-1]
    said = entry["protocol"], entry["outcome"], entry["output"].get("grpc_status")
    check(f"{what}, gRPC: UNAVAILABLE", said == ("oip-grpc", "complete", 14), entry)


def run(binary, folder):
    direct = lambda server: {"name": "triton", "url": f"http://{server.http}", "grpc_url": f"http://{server.grpc}"}
    (port,) = free_ports(1)
    trusting = {"listen": f"127.0.0.1:{port}", "forwarded": {"trust": True}}
    with (
        Triton(folder) as server,
        Touchmark(binary, folder, {**direct(server), "models": DECLARED}, name="touchmark-behind") as behind,
        Envoy(folder, {"edge": behind.listen, "edges": trusting["listen"]}, server) as envoy,
    ):
        back = {"name": "envoy", "url": f"http://{envoy.back}", "models": DECLARED}
        with (
            Touchmark(binary, folder, back, trusting, name="touchmark-between") as between,
            Touchmark(binary, folder, {**back, "protocol": "http2"}, name="touchmark-before") as before,
        ):
            hop = "127.0.0.1"
            ways = [
                Way("Envoy before Touchmark", envoy.before["edge"], behind, envoy),
                Way("Envoy behind Touchmark", before.listen, before, envoy, ["touchmark"], [hop, hop, 1], "HTTP/2"),
                Way(
                    "Envoy on both sides",
                    envoy.before["edges"],
                    between,
                    envoy,
                    ["edge", "touchmark"],
                    [FORGED["x-forwarded-for"], hop, 3],
                    "HTTP/1.1",
                ),
            ]
            for way in ways:
                for drive in (rest, http2, unary, stream):
                    drive(way, server)
            own_id(ways[2])
            for way in ways[1:]:
                gone(way)
            for touchmark in (behind, before, between):
                books(touchmark, least=5)
