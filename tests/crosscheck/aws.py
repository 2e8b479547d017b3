"""What AWS's own command line and its library say. Reads one JSON document, writes one.

    aws.py command-line    runs `aws` for each case against a recorder, and again with AWS's own endpoints and nothing sent
    aws.py every           makes an input for every operation of the tables, and what the library makes of it
    aws.py sign            signs requests

The folder of the package is in PYTHONPATH. Nothing reaches the network.
"""

import base64
import contextlib
import datetime
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEYS = {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE00", "AWS_SECRET_ACCESS_KEY": "very/secret+key", "AWS_SESSION_TOKEN": "token"}
os.environ.update(KEYS, AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_MAX_ATTEMPTS="1")
os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_PAGER="", no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")

import awscli.clidriver  # noqa: E402  It brings a `botocore` of its own.
import botocore.auth  # noqa: E402
import botocore.awsrequest  # noqa: E402
import botocore.credentials  # noqa: E402
import botocore.serialize  # noqa: E402
from botocore import xform_name  # noqa: E402
from botocore.loaders import Loader  # noqa: E402
from botocore.model import ServiceModel  # noqa: E402

COMMANDS = {"elasticloadbalancing": "elbv2", "s3": "s3api"}
MODELS = {"elasticloadbalancing": "elbv2"}


def recorder():
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self):
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            requests.append({"method": self.command, "target": self.path, "headers": headers, "body": encoded(body)})
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}", requests


def encoded(body):
    return base64.b64encode(body or b"").decode()


def merged(value, other):
    if isinstance(value, dict) and isinstance(other, dict):
        return {**value, **{name: merged(value.get(name), it) for name, it in other.items()}}
    return other


def command_line(cases):
    origin, requests = recorder()
    urls = []

    def keep(request, **_):
        urls.append(request.url)
        return botocore.awsrequest.AWSResponse(request.url, 403, {}, io.BytesIO())

    found = []
    for case in cases:
        service, operation = case["operation"].split(":")
        words = [COMMANDS.get(service, service), xform_name(operation, "-")]
        words += ["--region", case.get("command_line_region") or case["region"]]
        words += ["--cli-input-json", json.dumps(merged(case["input"], case.get("command_line") or {}))]
        del requests[:], urls[:]
        # A driver keeps things of one command for the next.
        driver, offline = awscli.clidriver.create_clidriver(), awscli.clidriver.create_clidriver()
        offline.session.register("before-send", keep)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            driver.main(words + ["--endpoint-url", origin])
            offline.main(words)
        if len(requests) != 1 or len(urls) != 1:
            found.append({"error": f"{len(requests)} and {len(urls)} requests: {said.getvalue().strip()[:500]}"})
        else:
            found.append({**requests[0], "url": str(urls[0])})
    return found


class Maker:
    """An input with every member, in the form of contracts and in that of the library."""

    def __init__(self, full):
        self.full = full

    def both(self, name, shape, depth, place):
        kind = shape.type_name
        if kind == "structure":
            return self.structure(shape, depth)
        if kind == "list":
            made = [self.both(name, shape.member, depth + 1, place) for _ in range(2)]
            return [it for it, _ in made], [it for _, it in made]
        if kind == "map":
            one, other = self.both(name, shape.value, depth + 1, place)
            key = shape.key.enum[0] if getattr(shape.key, "enum", None) else "key-1"
            return {key: one}, {key: other}
        if kind == "string":
            plain = place in ("header", "headers")
            text = shape.enum[0] if shape.enum else name.lower() + ("-1" if plain else " <1>&/ü+%")
            return text, text
        if kind in ("integer", "long"):
            return 7, 7
        if kind in ("float", "double"):
            return 2.5, 2.5
        if kind == "boolean":
            return True, True
        if kind == "blob":
            return base64.b64encode(b"hello\x00").decode(), b"hello\x00"
        if kind == "timestamp":
            return "2026-11-24T09:30:00Z", datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.timezone.utc)
        raise ValueError(kind)

    def structure(self, shape, depth):
        ours, theirs = {}, {}
        names = list(shape.members)
        if shape.is_tagged_union:
            names = names[:1] if depth % 2 else names[-1:]
        elif not self.full or depth > 5:
            names = [name for name in names if name in shape.required_members]
        for name in names:
            member = shape.members[name]
            # What the broker computes.
            if name.startswith("Checksum") or name == "ContentMD5":
                continue
            place = member.serialization.get("location")
            if depth > 12:
                raise ValueError("it never ends")
            ours[name], theirs[name] = self.both(name, member, depth + 1, place)
            if name == "Bucket" and isinstance(ours[name], str):
                ours[name] = theirs[name] = "data-bucket"
        return ours, theirs


def every(operations):
    loader, models, found = Loader(), {}, []
    for wanted in operations:
        service, name = wanted.split(":")
        model = MODELS.get(service, service)
        if service not in models:
            version = loader.determine_latest_version(model, "service-2")
            models[service] = ServiceModel(loader.load_data(f"{model}/{version}/service-2"), model)
        operation = models[service].operation_model(name)
        serializer = botocore.serialize.create_serializer(models[service].metadata["protocol"], include_validation=False)
        for full in (True, False):
            shape = operation.input_shape
            ours, theirs = Maker(full).structure(shape, 0) if shape is not None else ({}, {})
            serialized = serializer.serialize_to_request(theirs, operation)
            botocore.awsrequest.prepare_request_dict(serialized, "http://127.0.0.1:4566", context={})
            request = botocore.awsrequest.create_request_object(serialized).prepare()
            headers = {str(key).lower(): text(value) for key, value in request.headers.items()}
            target = request.url[len("http://127.0.0.1:4566"):]
            body = request.body.encode() if isinstance(request.body, str) else request.body
            found.append({"operation": wanted, "input": ours, "method": request.method, "target": target, "headers": headers,
                          "body": encoded(body)})
    return found


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def sign(requests):
    credentials = botocore.credentials.Credentials(*KEYS.values())
    found = []
    for request in requests:
        now = datetime.datetime.strptime(request["time"], "%Y-%m-%dT%H:%M:%SZ")
        botocore.auth.get_current_datetime = lambda *_, now=now, **__: now
        kind = botocore.auth.S3SigV4Auth if request["name"] == "s3" else botocore.auth.SigV4Auth
        signed = botocore.awsrequest.AWSRequest(
            method=request["method"], url=request["url"], headers=request["headers"], data=base64.b64decode(request["body"])
        )
        signed.context["payload_signing_enabled"] = True
        kind(credentials, request["name"], request["region"]).add_auth(signed)
        found.append({name.lower(): text(value) for name, value in signed.headers.items()})
    return found


if __name__ == "__main__":
    task = {"command-line": command_line, "every": every, "sign": sign}[sys.argv[1]]
    # What the tool prints goes elsewhere.
    answers = sys.stdout
    json.dump(task(json.load(sys.stdin)), answers)
