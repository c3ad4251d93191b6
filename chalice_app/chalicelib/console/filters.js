const KINDS = {
  keyword: "any of",
  keywords: "any of",
  number: "from, to",
  boolean: "",
  timestamp: "from, to, days in UTC",
};

/** Build the form from what the namespace declares. */
function buildFilters() {
  const form = find("filter-form"),
    fields = Object.entries(state.fields);
  find("filters").hidden = fields.length === 0;
  form.replaceChildren(
    ...fields.map(([name, kind], n) => fieldset(name, kind, `filter-${n}`)),
    make(
      "div",
      { class: "buttons" },
      make("button", { class: "main" }, "Apply"),
      make("button", { type: "reset" }, "Clear"),
    ),
  );
  countFilters();
}

function fieldset(name, kind, id) {
  const parts = { boolean: choice, number: bounds, timestamp: bounds }[kind] ?? keywords;
  return make(
    "fieldset",
    { "data-name": name, "data-kind": kind },
    make("legend", {}, name, make("span", { class: "note" }, ` ${KINDS[kind] ?? ""}`)),
    ...parts(name, kind, id),
  );
}

function bounds(name, kind) {
  const type = kind === "number" ? "number" : "date";
  return ["from", "to"].map((end) =>
    make("input", { type, step: type === "number" ? "any" : null, name: end, "aria-label": `${name}, ${end}` }),
  );
}

function choice(name) {
  const options = [
    ["", "either"],
    ["true", "yes"],
    ["false", "no"],
  ].map(([value, text]) => make("option", { value }, text));
  return [make("select", { name: "choice", "aria-label": name }, ...options)];
}

/** Values as chips: Enter adds what is typed, a click takes one out. */
function keywords(name, kind, id) {
  const chosen = make("span", { class: "chosen" }),
    known = make("datalist", { id });
  const input = make("input", {
    name: "value",
    list: id,
    maxlength: 512,
    "aria-label": `${name}, Enter adds a value`,
    autocomplete: "off",
    focus: () =>
      known.replaceChildren(
        ...[...(values.get(name) ?? [])]
          .sort()
          .slice(0, 100)
          .map((value) => make("option", { value })),
      ),
    keydown: (event) => {
      if (event.key !== "Enter" || !input.value.trim()) return;
      event.preventDefault();
      addKeyword(chosen, input);
    },
  });
  return [chosen, input, known];
}

function addKeyword(chosen, input) {
  const value = input.value.trim();
  input.value = "";
  if (!value || [...chosen.children].some((one) => one.dataset.value === value)) return;
  const take = () => (chosen.removeChild(button), input.focus());
  const button = make(
    "button",
    { type: "button", class: "chip", "data-value": value, "aria-label": `Take out ${value}`, click: take },
    value,
    " ×",
  );
  chosen.append(button);
}

/** Return the filter that the form says, as the API takes it, or null. */
function filterOf(form) {
  const must = [...form.querySelectorAll("fieldset")].map(condition).filter((one) => one !== null);
  return must.length ? { must } : null;
}

function condition(fieldset) {
  const { name, kind } = fieldset.dataset,
    told = (one) => fieldset.querySelector(`[name=${one}]`)?.value ?? "";
  if (kind === "boolean") return told("choice") ? { match: { [name]: told("choice") === "true" } } : null;
  if (kind === "number" || kind === "timestamp") {
    const range = kind === "number" ? numbers(told("from"), told("to")) : days(told("from"), told("to"));
    return Object.keys(range).length ? { range: { [name]: range } } : null;
  }
  addKeyword(fieldset.querySelector(".chosen"), fieldset.querySelector("input"));
  const chosen = [...fieldset.querySelectorAll(".chosen button")].map((one) => one.dataset.value);
  return chosen.length ? { any: { [name]: chosen } } : null;
}

function numbers(from, to) {
  return { ...(from && { gte: Number(from) }), ...(to && { lte: Number(to) }) };
}

/** Both days belong to it. */
function days(from, to) {
  const after = to && new Date(Date.parse(`${to}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);
  return { ...(from && { gte: from }), ...(after && { lt: after }) };
}

function countFilters() {
  const count = state.filter?.must.length ?? 0;
  find("filters-count").textContent = count ? String(count) : "";
}

find("filter-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.filter = filterOf(event.target);
  countFilters();
  showRecommendations();
});

find("filter-form").addEventListener("reset", (event) => {
  event.target.querySelectorAll(".chosen").forEach((one) => one.replaceChildren());
  state.filter = null;
  countFilters();
  showRecommendations();
});
