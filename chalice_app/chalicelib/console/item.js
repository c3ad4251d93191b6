let opener = null; // what the focus goes back to

/** Open an item beside the list it was chosen from. */
function select(item, from) {
  opener = from;
  state.item = item;
  document.querySelectorAll("[aria-current=true]").forEach((one) => one.removeAttribute("aria-current"));
  from?.setAttribute("aria-current", "true");
  find("item").hidden = false;
  find("h-item").textContent = titles.get(item) ?? item;
  find("item-id").textContent = item;
  find("writes").hidden = find("reasons").hidden = !state.user;
  find("writes-note").textContent = `Writes an event of ${state.user}; the next list counts it.`;
  fill(
    find("metadata"),
    () => ask("GET", ["v1", state.namespace, "items", item]),
    ({ answer }) => metadataOf(item, answer.metadata),
  );
  showList(find("similar"), "Similar items", (cursor) =>
    ask("GET", ["v1", state.namespace, "items", item, "similar"], { query: listQuery(10, cursor) }),
  );
  if (state.user) showWhy(item);
  find("h-item").focus({ preventScroll: true });
}

function metadataOf(item, metadata) {
  learn(item, metadata);
  if (state.item === item) find("h-item").textContent = titles.get(item) ?? item;
  const told = Object.entries(metadata);
  if (!told.length) return [note("Nothing is known of it but its id.")];
  const value = (name, one) => (state.fields[name] === "timestamp" && one ? moment(one) : shown(one));
  return [definitions(told.map(([name, one]) => [name, value(name, one)]))];
}

const SOURCES = {
  bias: "everybody and everything alike",
  item: "the item itself",
  user: "the user",
  history: "the rest of the history",
};
const REASONS = 6; // shown, the largest

/** Show what the score of an item consists of for the user. */
async function showWhy(item) {
  const question = () =>
    ask("POST", ["v1", state.namespace, "users", state.user, "scores"], { body: { items: [item], explain: true } });
  await fill(
    find("why"),
    question,
    ({
      answer: {
        items: [one],
      },
    }) => {
      const parts = one.explanation
        .filter((part) => part.value !== 0)
        .sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
      if (!parts.length) return [note("The model knows nothing of this user that bears on it.")];
      const scale = scaleOf(parts.map((part) => ({ score: Math.abs(part.value) })));
      return [make("ul", { class: "parts" }, ...parts.slice(0, REASONS).map((part) => reason(part, scale)))];
    },
  );
  nameItems(find("why"));
}

function reason({ source, name, value }, scale) {
  const bar = make("span", { class: value < 0 ? "fill less" : "fill" });
  bar.style.setProperty("--share", `${(100 * scale.share(Math.abs(value))).toFixed(1)}%`);
  const what =
    source === "history" && name
      ? ["had ", make("span", { "data-name": name }, titles.get(name) ?? name)]
      : [name || SOURCES[source] || source];
  return make(
    "li",
    {},
    make("span", { class: "what" }, ...what),
    make("span", { class: "scale", "aria-hidden": "true" }, bar),
    make("span", { class: "number" }, `${value < 0 ? "−" : "+"}${scale.written(Math.abs(value))}`),
  );
}

function closeItem() {
  if (find("item").hidden) return;
  find("item").hidden = true;
  state.item = null;
  opener?.removeAttribute("aria-current");
  (opener?.isConnected ? opener : (document.querySelector(".row[tabindex='0']") ?? find("main"))).focus();
}

const eventId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");

/** Record that the user viewed the item, and show what that changes. */
async function recordView() {
  const event = {
    event_id: `console-${eventId()}`,
    user: state.user,
    item: state.item,
    timestamp: Date.now() / 1000,
    event: "viewed",
  };
  const button = find("viewed"),
    said = find("writes-note");
  button.disabled = true;
  await fill(
    said,
    () => ask("POST", ["v1", state.namespace, "events"], { body: { events: [event] } }),
    () => {
      announce(`Recorded that ${state.user} viewed ${titles.get(state.item) ?? state.item}`);
      return ["Recorded. List and history count it now."];
    },
  );
  button.disabled = false;
  if (said.querySelector(".refusal")) return;
  await showUser(true);
  const fresh = find("list").querySelectorAll(".fresh").length;
  said.append(` ${counted(fresh, "item")} new in the list.`);
}

/** Where the item lies over the page, what gets the focus below must not stay hidden. */
function uncover(event) {
  const panel = find("item");
  if (getComputedStyle(panel).position === "fixed" && !panel.contains(event.target)) panel.hidden = true;
}

document.addEventListener("focusin", uncover);
find("viewed").addEventListener("click", recordView);
find("close").addEventListener("click", closeItem);
document.addEventListener("keydown", (event) => event.key === "Escape" && closeItem());
