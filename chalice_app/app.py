"""The REST API: routes parse, call the service and shape the answer."""

from chalicelib.face import Face
from chalicelib.requests import path_id, path_namespace, query_k, sent_events
from chalicelib.responses import answer, ranked
from chalicelib.wiring import service, stores

app = Face(app_name="recsys")


@app.route("/v1/{ns}/users/{user}/recommendations", methods=["GET"])
def recommendations(ns, user):
    """Top-K for a user: GET ...?k=20."""
    found = service().recommend(path_namespace(ns), path_id("user", user), query_k(app.current_request))
    return ranked(app.request_id, found)


@app.route("/v1/{ns}/items/{item}/similar", methods=["GET"])
def similar_items(ns, item):
    """Nearest items: GET ...?k=20."""
    found = service().similar(path_namespace(ns), path_id("item", item), query_k(app.current_request))
    return ranked(app.request_id, found)


@app.route("/v1/{ns}/popular", methods=["GET"])
def popular(ns):
    """Items most users have: GET ...?k=20."""
    return ranked(app.request_id, service().popular(path_namespace(ns), query_k(app.current_request)))


@app.route("/v1/{ns}/events", methods=["POST"])
def events(ns):
    """Up to 500 events, visible to the next recommendation of their users; 202 once they are stored."""
    sent = sent_events(app.current_request)
    new = service().record_events(path_namespace(ns), sent)
    return answer(app.request_id, {"accepted": new, "duplicates": len(sent) - new}, status=202)


@app.route("/health/live", methods=["GET"])
def live():
    """Whether the process answers."""
    return answer(app.request_id, {"status": "live"})


@app.route("/health/ready", methods=["GET"])
def ready():
    """Whether the stores answer."""
    stores().check()
    return answer(app.request_id, {"status": "ready"})
