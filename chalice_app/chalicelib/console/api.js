/** Where the API is: beside this page, also below the path of a stage. */
const ROOT = new URL(location.pathname.replace(/\/console\/?$/, "/"), location.origin);

const WHAT_TO_DO = {
  0: "Is the server running? Open again when it is.",
  401: "Type an API key above and press Enter.",
  403: "This key may not do that here: take one with the right scope and namespace.",
  409: "Somebody else was first. Open again.",
  410: "That version is no longer kept. Open again for the newest list.",
  429: "Too many requests for this key. Wait a moment, then open again.",
  503: "A store is out of reach. Open again in a moment.",
};

/** What the API refused, as it said it. */
class Refused extends Error {
  constructor(status, problem, wait = null) {
    super(problem.detail || problem.message || "no reason was given");
    Object.assign(this, { status, title: problem.title || "", field: problem.field, id: problem.request_id, wait });
  }

  /** A route that this server does not have names no field. */
  get isMissing() {
    return (this.status === 404 || this.status === 405) && !this.field;
  }

  get whatToDo() {
    if (this.status === 429 && this.wait) return `Wait ${counted(Number(this.wait), "second")}, then open again.`;
    if (this.status === 404 && this.field === "ns") return "Nothing is published there. Check the namespace.";
    return WHAT_TO_DO[this.status] ?? (this.status === 400 || this.status === 422 ? "Change what it names." : "");
  }
}

/** Join parts of a path, each encoded whole: "/" is %2F. */
function pathOf(parts) {
  if (parts.some((part) => part === "." || part === ".."))
    throw new Refused(0, {
      title: "Not asked",
      detail: "browsers take “.” and “..” out of a path: ask for this id by other means",
    });
  try {
    return parts.map(encodeURIComponent).join("/");
  } catch {
    throw new Refused(0, { title: "Not asked", detail: "half of a surrogate pair is no text" });
  }
}

/** Ask the API; returns its answer and the milliseconds it took from here, throws `Refused`. */
async function ask(method, parts, { query = {}, body } = {}) {
  const url = new URL(pathOf(parts), ROOT);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const headers = { accept: "application/json" };
  if (state.key) headers["x-api-key"] = state.key;
  if (body) headers["content-type"] = "application/json";
  const began = performance.now();
  let response, text;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body && JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
    });
    text = await response.text();
  } catch {
    throw new Refused(0, { title: "No answer", detail: "the server cannot be reached, or the key is no header" });
  }
  const answer = parsed(text);
  if (!response.ok || !answer)
    throw new Refused(
      response.status,
      answer ?? { detail: "the answer is no JSON" },
      response.headers.get("retry-after"),
    );
  return { answer, ms: performance.now() - began };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Show what was refused: status, reason, field, and what to do about it. */
function refusal(error) {
  if (error.isMissing) return note("This server does not offer it.");
  if (error.status === 404 && error.field?.startsWith("item"))
    return note("Nobody knows this item: it may have been deleted.");
  return make(
    "div",
    { class: "refusal", role: "alert" },
    make("strong", {}, error.status ? `${error.status} ${error.title}` : error.title),
    make("p", {}, error.message, ...(error.field ? [" (", make("code", {}, error.field), ")"] : [])),
    error.whatToDo ? make("p", { class: "todo" }, error.whatToDo) : null,
    error.id ? make("p", { class: "note" }, "Request ", make("span", { class: "mono" }, error.id)) : null,
  );
}

const turns = new Map();

/** Fill a panel with what comes of a question; the answer to an older question of the same panel is dropped. */
async function fill(panel, question, show) {
  const turn = (turns.get(panel) ?? 0) + 1;
  turns.set(panel, turn);
  panel.setAttribute("aria-busy", "true");
  let children;
  try {
    const found = await question();
    if (turns.get(panel) !== turn) return;
    children = show(found);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (turns.get(panel) !== turn) return;
    children = [refusal(error)];
  }
  panel.replaceChildren(...children);
  panel.removeAttribute("aria-busy");
}

/** Empty a panel, and let no answer under way fill it again. */
function drop(panel) {
  turns.set(panel, (turns.get(panel) ?? 0) + 1);
  panel.replaceChildren();
  panel.removeAttribute("aria-busy");
}
