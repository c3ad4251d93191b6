"""The REST API: routes parse, call the service and shape the answer."""

from chalicelib.face import Face
from chalicelib.requests import EventsIn, event_of, json_body, path_id, path_namespace, query_k
from chalicelib.responses import answer, ranked
from chalicelib.wiring import online, service

app = Face(app_name="recsys")


@app.route("/v1/{ns}/users/{user}/recommendations", methods=["GET"])
def recommendations(ns, user):
    """Top-K for a user: GET ...?k=20."""
    k = query_k(app.current_request)
    return ranked(app, service().recommend(path_namespace(ns), path_id("user", user), k))


@app.route("/v1/{ns}/items/{item}/similar", methods=["GET"])
def similar_items(ns, item):
    """Nearest items: GET ...?k=20."""
    k = query_k(app.current_request)
    return ranked(app, service().similar(path_namespace(ns), path_id("item", item), k))


@app.route("/v1/{ns}/popular", methods=["GET"])
def popular(ns):
    """Items most users have: GET ...?k=20."""
    return ranked(app, service().popular(path_namespace(ns), query_k(app.current_request)))


@app.route("/v1/{ns}/events", methods=["POST"], content_types=["*/*"])
def events(ns):
    """Up to 500 events, visible to the next recommendation of their users; 202 once they are stored."""
    sent = [event_of(one) for one in json_body(app.current_request, EventsIn).events]
    new = service().record_events(path_namespace(ns), sent)
    return answer(app, {"accepted": new, "duplicates": len(sent) - new}, status=202)


@app.route("/health/live", methods=["GET"])
def live():
    """Whether the process answers."""
    return answer(app, {"status": "live"})


@app.route("/health/ready", methods=["GET"])
def ready():
    """Whether the stores answer."""
    online().check()
    return answer(app, {"status": "ready"})
