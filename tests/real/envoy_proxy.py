"""Envoy before Touchmark and behind it: started, waited for, its access log read. Loopback only."""

import json
import socket

from servers import SITE, Process, answers, free_ports

# What is logged of each request, as Envoy received it.
SEEN = {
    "listener": "%FILTER_CHAIN_NAME%",
    "protocol": "%PROTOCOL%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    **{
        name: f"%REQ({name})%"
        for name in ("forwarded", "traceparent", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id")
        + ("x-lineage-trace-id", "te")
    },
}
API = "type.googleapis.com/envoy"
HTTP2 = {"http2_protocol_options": {}}


def typed(kind, **fields):
    return {"@type": f"{API}.{kind}", **fields}


def cluster(name, address, **protocol):
    """One server: `protocol` says how it is spoken to."""
    options = typed("extensions.upstreams.http.v3.HttpProtocolOptions", **protocol)
    host, port = address.split(":")
    endpoint = {"address": {"socket_address": {"address": host, "port_value": int(port)}}}
    return {
        "name": name,
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


def listener(name, port, routes, log, **manager):
    """A listener for both versions of HTTP; `routes` are pairs of what must match and a cluster."""
    route = lambda match, to: {"match": match, "route": {"cluster": to, "timeout": "0s"}}
    logged = typed("extensions.access_loggers.file.v3.FileAccessLog", path=str(log), log_format={"json_format": SEEN})
    connections = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        preserve_external_request_id=True,
        access_log=[{"name": "file", "typed_config": logged}],
        http_filters=[
            {"name": "envoy.filters.http.router", "typed_config": typed("extensions.filters.http.router.v3.Router")}
        ],
        route_config={"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route(*one) for one in routes]}]},
        **manager,
    )
    chain = {"name": name, "filters": [{"name": "http", "typed_config": connections}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": name, "address": address, "filter_chains": [chain]}


class Envoy(Process):
    """Envoy with a listener before each of `behind`, which are Touchmarks' addresses by name, and one named `back`.

    The former lead on in the version of HTTP in which they were asked; `back` to the model server over REST and gRPC,
    but calls with the field `x-gone` to nobody.
    """

    def __init__(self, folder, behind, server):
        # Bound, and nobody listens.
        self.nobody = socket.socket()
        self.nobody.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{self.nobody.getsockname()[1]}"
        self.access = folder / "envoy-access.log"
        admin, back, *fronts = free_ports(2 + len(behind))
        self.admin, self.back = f"127.0.0.1:{admin}", f"127.0.0.1:{back}"
        self.before = {name: f"127.0.0.1:{port}" for name, port in zip(behind, fronts)}
        http1, both = {"http_protocol_options": {}}, {"http_protocol_options": {}, **HTTP2}
        anything = {"prefix": "/"}
        routes = [
            ({"prefix": "/", "headers": [{"name": "x-gone", "present_match": True}]}, "gone"),
            ({"prefix": "/inference.GRPCInferenceService/"}, "grpc"),
            (anything, "rest"),
        ]
        # As an edge does, they note who asked; `back` sees what Touchmark sent.
        edge = {"use_remote_address": True, "via": "1.1 edge"}
        config = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {
                "listeners": [
                    listener("back", back, routes, self.access),
                    *(listener(name, port, [(anything, name)], self.access, **edge) for name, port in zip(behind, fronts)),
                ],
                "clusters": [
                    cluster("rest", server.http, explicit_http_config=http1),
                    cluster("grpc", server.grpc, explicit_http_config=HTTP2),
                    cluster("gone", gone, explicit_http_config=http1),
                    *(cluster(name, to, use_downstream_protocol_config=both) for name, to in behind.items()),
                ],
            },
        }
        path = folder / "envoy.yaml"
        # JSON is YAML.
        path.write_text(json.dumps(config, indent=2))
        command = [SITE / "envoy" / "_bin" / "envoy", "-c", path, "--concurrency", "1", "--disable-hot-restart"]
        super().__init__("envoy", folder, [*command, "--file-flush-interval-msec", "20", "--log-level", "warning"])

    def wait_until_ready(self):
        self.wait_for(lambda: answers(f"http://{self.admin}/ready"))

    def stop(self):
        self.nobody.close()
        return super().stop()

    def saw(self, listener, request_id):
        """The one request with this id that a listener received."""
        whole = lambda: [json.loads(line) for line in self.access.read_text().splitlines() if line.endswith("}")]
        wanted = (listener, request_id)
        found = lambda: [seen for seen in whole() if (seen["listener"], seen["x-request-id"]) == wanted]
        self.wait_for(found)
        return found()[0]
