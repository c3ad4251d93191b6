const K = 20;
const MOST_INCLUDED = 16;
const TITLES = ["title", "name"]; // metadata that names an item to people, the first that is text

const titles = new Map(); // of the namespace at hand, by item
const values = new Map(); // of it, by keyword field: what was seen, to be suggested

/** Remember what metadata say of an item: its title, and keywords to suggest. */
function learn(item, metadata = {}) {
  const title = TITLES.map((name) => metadata[name]).find((one) => typeof one === "string" && one.trim());
  if (title) titles.set(item, title);
  for (const [name, kind] of Object.entries(state.fields)) {
    if (!kind.startsWith("keyword") || metadata[name] === undefined) continue;
    if (!values.has(name)) values.set(name, new Set());
    [metadata[name]].flat().forEach((one) => values.get(name).add(String(one)));
  }
}

/** What lists are asked to bring along: titles, and the declared fields. */
function include() {
  return [...new Set([...TITLES, ...Object.keys(state.fields)])]
    .filter((name) => !name.includes(","))
    .slice(0, MOST_INCLUDED);
}

function details(item, metadata = {}) {
  const told = Object.keys(state.fields).filter(
    (name) => state.fields[name] !== "timestamp" && (metadata[name] ?? null) !== null,
  );
  const parts = told.slice(0, 3).map((name) => shown(metadata[name]));
  if (titles.has(item)) parts.unshift(make("span", { class: "mono" }, item));
  return make("span", { class: "sub" }, ...parts.flatMap((one, n) => (n ? [" · ", one] : [one])));
}

function row(one, rank, scale, isNew = false) {
  learn(one.item, one.metadata);
  const bar = make("span", { class: "fill" });
  bar.style.setProperty("--share", `${(100 * scale.share(one.score)).toFixed(1)}%`);
  const title = make(
    "span",
    { class: "title" },
    titles.get(one.item) ?? one.item,
    isNew ? chip("new here", "good") : null,
  );
  return make(
    "li",
    {},
    make(
      "button",
      {
        type: "button",
        class: isNew ? "row fresh" : "row",
        "data-item": one.item,
        tabindex: "-1",
        click: (event) => select(one.item, event.currentTarget),
      },
      make("span", { class: "rank" }, String(rank)),
      make("span", { class: "what" }, title, details(one.item, one.metadata)),
      make(
        "span",
        { class: "score" },
        make("span", { class: "scale", "aria-hidden": "true" }, bar),
        make("span", { class: "number" }, scale.written(one.score)),
      ),
      make("span", { class: "why" }, one.reason),
    ),
  );
}

/** How a list came about, in one line. */
function facts(answer, ms) {
  return make(
    "p",
    { class: "facts" },
    chip(answer.strategy, "accent", "strategy"),
    answer.variant ? chip(`variant ${answer.variant}`, "accent") : null,
    answer.degraded ? chip("degraded", "warn", "a store is out of reach: the list comes from what is in memory") : null,
    make("span", { class: "mono", title: "model version" }, answer.model_version),
    make("span", { title: "from this page to the answer and back" }, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`),
  );
}

/** How scores of a list are drawn, as shares of its best, and with how many digits they are written. */
function scaleOf(items) {
  const scores = items.map((one) => one.score),
    most = Math.max(...scores),
    zero = most > 0 ? 0 : Math.min(...scores);
  const digits = scores.every(Number.isInteger)
    ? 0
    : Math.max(0, Math.min(9, 2 - Math.floor(Math.log10(Math.abs(most) || 1))));
  return {
    share: (score) => Math.max(0, Math.min(1, (score - zero) / (most - zero || 1))),
    written: (score) => (score !== 0 && Math.abs(score) < 0.5 / 10 ** digits ? "≈ 0" : score.toFixed(digits)),
  };
}

/** Show a list of the API, and further pages of it on demand; `page(cursor)` asks. */
async function showList(panel, label, page, known = null) {
  await fill(
    panel,
    () => page(null),
    ({ answer, ms }) => {
      if (!answer.items.length) return [facts(answer, ms), note("No item qualifies. Fewer filters let more through.")];
      const rows = make("ol", { class: "list", "aria-label": `${label}: arrow keys move, Enter opens` });
      const scale = scaleOf(answer.items);
      const add = (items, known = null) =>
        rows.append(
          ...items.map((one, n) =>
            row(one, rows.children.length + n + 1, scale, known !== null && !known.has(one.item)),
          ),
        );
      const hold = roving(rows, ".row", ["ArrowUp", "ArrowDown"]);
      add(answer.items, known);
      hold(rows.querySelector(".row"));
      announce(
        `${label}: ${counted(answer.items.length, "item")}, strategy ${answer.strategy}${answer.degraded ? ", degraded" : ""}`,
      );
      return [facts(answer, ms), rows, ...pager(answer.cursor, page, add, rows)];
    },
  );
}

function pager(cursor, page, add, rows) {
  if (!cursor) return [];
  const trouble = make("div");
  const more = make("button", { type: "button", class: "more", click: next }, `Next ${K}`);
  async function next() {
    more.disabled = true;
    const before = rows.children.length;
    await fill(
      trouble,
      () => page(cursor),
      ({ answer }) => {
        add(answer.items);
        cursor = answer.cursor;
        announce(`${counted(answer.items.length, "more item")}, ${rows.children.length} in all`);
        rows.children[before]?.firstElementChild.focus();
        if (!cursor) more.remove();
        return [];
      },
    );
    more.disabled = false;
  }
  return [more, trouble];
}

/** Name the items below a node, of which only the ids are known, by asking for each. */
async function nameItems(node) {
  for (const place of node.querySelectorAll("[data-name]")) {
    const item = place.dataset.name;
    if (!titles.has(item)) await askTitle(item);
    if (titles.has(item)) place.textContent = titles.get(item);
  }
}

async function askTitle(item) {
  try {
    learn(item, (await ask("GET", ["v1", state.namespace, "items", item])).answer.metadata);
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // the id stands for the title
  }
}
