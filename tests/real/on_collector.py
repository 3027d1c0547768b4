"""A collector behind Touchmark: what of a prediction arrives as spans, over gRPC and over HTTP."""

import secrets

import grpc
from tritonclient.grpc import service_pb2

from checks import JSON, books, check, post
from collector import Collector
from on_triton import BY_SERVED, DECLARED, NEW, ROWS, row_body
from touchmark import Touchmark
from triton_server import Triton

KINDS = ("SPAN_KIND_SERVER", "SPAN_KIND_CLIENT")


def arrived(collector, trace):
    """The SERVER and the CLIENT span of a trace, once both are there with all that they say."""
    found = lambda: {span["Kind"]: span for span in collector.spans() if span.get("Trace ID") == trace}
    # What is said last of each is the server that it went to, or the outcome.
    whole = lambda: len(spans := found()) == 2 and "server.port" in spans[KINDS[1]]["attributes"]
    collector.wait_for(whole)
    return [found()[kind] for kind in KINDS]


def told(what, collector, touchmark, prediction, parent):
    """The entry leads to the spans, the spans lead to the entry, and on-call reads the version."""
    [entry] = touchmark.audit("find", "--prediction", prediction)
    server, client = arrived(collector, entry["trace"])
    check(f"{what}: the SERVER span is the entry's", server["ID"] == entry["span"], (server, entry))
    check(f"{what}: it continues the caller's trace", server["Parent ID"] == parent, server)
    check(f"{what}: the CLIENT span is below it", client["Parent ID"] == server["ID"], client)
    wanted = {
        "touchmark.prediction.id": prediction,
        "http.response.header.x-model-version": NEW["version"],
        "ml.model.name": NEW["name"],
        "ml.model.version": NEW["version"],
        "ml.dataset.version": "2026",
        "touchmark.backend": "triton",
        "touchmark.outcome": "complete",
        "http.route": entry["route"],
        "http.response.status_code": "200",
    }
    said = {key: server["attributes"].get(key) for key in wanted}
    check(f"{what}: what the SERVER span says", said == wanted, said)
    names = [span["Name"] for span in (server, client)]
    check(f"{what}: named by the route", names == [f"POST {entry['route']}"] * 2, names)


def predictions(what, collector, touchmark):
    """One over REST with a trace of the caller's, one over gRPC that begins its own; and a call that is none."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    headers = {**JSON, "traceparent": f"00-{trace}-{span}-01"}
    answer, _ = post(touchmark.listen, "/v2/models/sum/infer", row_body(what), headers)
    prediction = BY_SERVED["2"].stamped(f"{what}, REST", answer.getheaders())
    told(f"{what}, REST", collector, touchmark, prediction, span)

    message = service_pb2.ModelInferRequest(model_name="sum", model_version="2", id=what)
    message.inputs.add(name="x", datatype="FP32", shape=ROWS.shape)
    message.raw_input_contents.append(ROWS.tobytes())
    with grpc.insecure_channel(touchmark.listen) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        _, call = method.with_call(message.SerializeToString(), timeout=30)
    prediction = BY_SERVED["2"].stamped(f"{what}, gRPC", call.initial_metadata())
    told(f"{what}, gRPC", collector, touchmark, prediction, "")


def run(binary, folder):
    with Triton(folder) as server, Collector(folder) as collector:
        backend = {"name": "triton", "url": f"http://{server.http}", "grpc_url": f"http://{server.grpc}"}
        for protocol, endpoint in collector.endpoints.items():
            what = f"OTLP by {protocol}"
            traces = {"endpoint": endpoint, "protocol": protocol, "sampler": "parentbased_always_on"}
            # Each batch is sent at once, almost.
            soon = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
            named = {"name": f"touchmark-{protocol.partition('/')[0]}", "traces": traces, "env": soon}
            with Touchmark(binary, folder, {**backend, "models": DECLARED}, **named) as touchmark:
                predictions(what, collector, touchmark)
                dropped = [pair for pair in touchmark.metrics() if pair[0].startswith("touchmark_telemetry_dropped")]
                check(f"{what}: nothing was dropped", not any(value for _, value in dropped), dropped)
                books(touchmark, least=2)
