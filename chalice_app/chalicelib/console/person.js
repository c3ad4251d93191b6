const HISTORY = 12; // shown at first

let listed = new Set(); // items of the user's list, to mark those that come new into it

const listQuery = (k, cursor) => ({ k, include: include().join(","), ...(cursor && { cursor }) });

/** Show a user; after an event, items that were not in the list before are marked. */
async function showUser(isChange = false) {
  if (!state.user) {
    [find("list"), find("history"), find("rows")].forEach(drop);
    find("list").replaceChildren(note("Type a user above. Popular and trending items are under Catalogue."));
    return;
  }
  await Promise.all([showRecommendations(isChange), showHistory(), showRows()]);
}

async function showRecommendations(isChange = false) {
  if (!state.user) return;
  const who = ["v1", state.namespace, "users", state.user, "recommendations"];
  const known = isChange ? listed : null;
  listed = new Set();
  async function page(cursor) {
    const found = state.filter
      ? await ask("POST", who, { body: { k: K, include: include(), filter: state.filter, ...(cursor && { cursor }) } })
      : await ask("GET", who, { query: listQuery(K, cursor) });
    found.answer.items.forEach((one) => listed.add(one.item));
    return found;
  }
  await showList(find("list"), `Recommendations for ${state.user}`, page, known);
}

async function showHistory() {
  const panel = find("history");
  await fill(
    panel,
    () => ask("GET", ["v1", state.namespace, "users", state.user]),
    ({ answer }) => [
      make(
        "p",
        { class: "facts" },
        answer.trained ? chip("in the model", "accent") : chip("not in the model yet"),
        make("span", {}, counted(answer.history_total, "event"), " held online"),
      ),
      ...profileOf(answer.profile),
      ...(answer.history.length
        ? historyOf(answer.history)
        : [note("No event of theirs came lately. What a model learned before is in the event log.")]),
    ],
  );
  nameItems(panel);
}

function profileOf(profile) {
  const told = Object.entries(profile ?? {});
  return told.length ? [definitions(told.map(([name, one]) => [name, shown(one)]))] : [];
}

function historyOf(events) {
  const list = make("ol", { class: "list", "aria-label": "Events, newest first: arrow keys move, Enter opens" });
  const add = (some) => list.append(...some.map(happened));
  const hold = roving(list, ".row", ["ArrowUp", "ArrowDown"]);
  add(events.slice(0, HISTORY));
  hold(list.querySelector(".row"));
  if (events.length <= HISTORY) return [list];
  const all = () => (
    more.remove(),
    add(events.slice(HISTORY)),
    list.children[HISTORY].firstElementChild.focus(),
    nameItems(list)
  );
  const more = make("button", { type: "button", class: "more", click: all }, `All ${events.length}`);
  return [list, more];
}

function happened(event) {
  return make(
    "li",
    {},
    make(
      "button",
      {
        type: "button",
        class: "row event",
        "data-item": event.item,
        tabindex: "-1",
        click: (press) => select(event.item, press.currentTarget),
      },
      make(
        "span",
        { class: "what" },
        make("span", { class: "title", "data-name": event.item }, titles.get(event.item) ?? event.item),
        make("span", { class: "sub" }, `${event.event} ${shown(event.value)} · `, moment(event.timestamp)),
      ),
    ),
  );
}

async function showRows() {
  const panel = find("rows");
  await fill(
    panel,
    () => ask("GET", ["v1", state.namespace, "users", state.user, "rows"], { query: listQuery(5) }),
    ({ answer }) =>
      answer.rows.length
        ? [make("div", { class: "shelves" }, ...answer.rows.map(shelf))]
        : [note("Nothing they liked is known.")],
  );
  nameItems(panel);
}

function shelf(one) {
  const list = make("ol", { class: "list", "aria-label": "Similar items: arrow keys move, Enter opens" });
  const scale = scaleOf(one.items);
  list.append(...one.items.map((item, n) => row(item, n + 1, scale)));
  const hold = roving(list, ".row", ["ArrowUp", "ArrowDown"]);
  if (one.items.length) hold(list.querySelector(".row"));
  return make(
    "section",
    {},
    make("h3", {}, "They liked ", make("em", { "data-name": one.because }, titles.get(one.because) ?? one.because)),
    list,
  );
}
