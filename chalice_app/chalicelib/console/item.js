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
  find("writes").hidden = !state.user;
  find("writes-note").textContent = `Writes an event of ${state.user}; the next list counts it.`;
  fill(find("metadata"), () => ask("GET", ["v1", state.namespace, "items", item]), ({ answer }) => metadataOf(item, answer.metadata));
  showList(find("similar"), "Similar items", (cursor) =>
    ask("GET", ["v1", state.namespace, "items", item, "similar"], { query: listQuery(10, cursor) }));
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

function closeItem() {
  if (find("item").hidden) return;
  find("item").hidden = true;
  state.item = null;
  opener?.removeAttribute("aria-current");
  (opener?.isConnected ? opener : document.querySelector(".row[tabindex='0']") ?? find("main")).focus();
}

const eventId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");

/** Record that the user viewed the item, and show what that changes. */
async function recordView() {
  const event = { event_id: `console-${eventId()}`, user: state.user, item: state.item, timestamp: Date.now() / 1000, event: "viewed" };
  const button = find("viewed"), said = find("writes-note");
  button.disabled = true;
  await fill(said, () => ask("POST", ["v1", state.namespace, "events"], { body: { events: [event] } }), () => {
    announce(`Recorded that ${state.user} viewed ${titles.get(state.item) ?? state.item}`);
    return ["Recorded. List and history count it now."];
  });
  button.disabled = false;
  if (said.querySelector(".refusal")) return;
  await showUser(true);
  const fresh = find("list").querySelectorAll(".fresh").length;
  said.append(` ${counted(fresh, "item")} new in the list.`);
}

find("viewed").addEventListener("click", recordView);
find("close").addEventListener("click", closeItem);
document.addEventListener("keydown", (event) => event.key === "Escape" && closeItem());
