"""A stand-in for tangramd that answers what a test tells it to, for answers that the real one
gives rarely or never: nonsense, refusals, waits.  What the real daemon does is tested with it."""
import http.server
import json
import os
import socket
import socketserver
import threading
import urllib.parse


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def _answer(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        path, _, query = self.path.partition("?")
        request = {"method": self.command, "path": path, "raw_path": self.path,
                   "query": dict(urllib.parse.parse_qsl(query)), "headers": dict(self.headers),
                   "body": json.loads(body) if body else None}
        with self.server.lock:
            self.server.requests.append(request)
        route = self.server.routes.get((self.command, path))
        if route is None:
            answer = (404, {"reason": "not_found", "status": 404,
                            "detail": f"there is no {path}"})
        else:
            answer = route(request) if callable(route) else route
        if isinstance(answer, (dict, list)):
            answer = (200, answer)
        if callable(answer):
            answer(self)
            return
        status, content = answer[:2]
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/json" if status < 400 else "application/problem+json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer


class FakeDaemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, path, routes=None):
        self.routes = dict(routes or {})
        self.requests = []
        self.lock = threading.Lock()
        self.path = str(path)
        super().__init__(self.path, _Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("unix", 0)

    def handle_error(self, *_):
        pass  # a client that goes away is no news

    def asked(self, method, path):
        with self.lock:
            return [r for r in self.requests if (r["method"], r["path"]) == (method, path)]

    def close(self):
        self.shutdown()
        self.server_close()
        if os.path.exists(self.path):
            os.unlink(self.path)


def dead_socket(path):
    """A socket file that nobody listens at any more."""
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(path))
    s.close()


def gpu(index=0, slots=8, compute=7, slices=(), name="NVIDIA H100 80GB HBM3", **more):
    whole = {"index": index, "uuid": f"GPU-{index}", "name": name, "pci": f"0000:0{index}:00.0",
             "memory_mib": 81559,
             "mig": {"capable": True, "mode": "enabled", "pending": "enabled", "resetless": True,
                     "policy": "on-demand"},
             "managed": True, "health": "ok", "health_reason": None, "lease": None,
             "memory_slots": slots, "compute_slots": compute, "processes": 0, "profiles": [],
             "slices": list(slices), "note": None}
    whole.update(more)
    return whole


def slice_(profile, start, size, compute, state="leased", tenant=None, lease=None, **more):
    one = {"gpu_uuid": "GPU-0", "gpu_index": 0, "profile": profile,
           "placement": {"start": start, "size": size}, "compute_slots": compute,
           "gpu_instance_id": 3, "state": state,
           "owner": "foreign" if state == "foreign" else "tangram", "tenant": tenant,
           "lease": lease, "processes": 0, "reason": None,
           "compute_instances": [{"id": 0, "profile": profile, "mig_uuid": f"MIG-{start}",
                                  "lease": lease}]}
    one.update(more)
    return one


ROOT = {"name": "tangram", "version": "0.1.0", "machine": "node1", "simulated": True,
        "driver_version": "590.48.01", "nvml_version": "12.590.48.01",
        "you": {"tenant": "vision", "role": "tenant", "uid": 1000}}
