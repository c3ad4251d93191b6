const VIEWS = { user: showUser, catalogue: showCatalogue, models: showModels, service: showService };

/** Show a view, and ask again for what is in it. */
function show(view) {
  state.view = view;
  const isRefused = state.isRefused && view !== "service"; // the service is no namespace's
  for (const name of Object.keys(VIEWS)) {
    find(`tab-${name}`).setAttribute("aria-selected", String(name === view));
    find(`view-${name}`).hidden = name !== view || !state.namespace || isRefused;
  }
  find("trouble").hidden = !isRefused;
  find("welcome").hidden = Boolean(state.namespace);
  holdTab(find(`tab-${view}`));
  if (!state.namespace) return;
  history.replaceState(null, "", `#${new URLSearchParams({ ns: state.namespace, user: state.user, view })}`);
  return isRefused ? undefined : VIEWS[view]();
}

/** Start over with what is typed. */
async function open() {
  const { namespace, user, key } = find("open").elements,
    before = state.namespace;
  Object.assign(state, { namespace: namespace.value.trim(), user: user.value, key: key.value.trim() });
  keep(state.key);
  if (!find("item").hidden) closeItem();
  if (state.namespace !== before) forget();
  if (state.namespace) await learnFields();
  return show(state.view);
}

/** Forget what was known of another namespace. */
function forget() {
  titles.clear();
  values.clear();
  Object.assign(state, { fields: {}, filter: null });
}

/** Ask which fields the namespace declares; who is refused that sees why, once, instead of the view. */
async function learnFields() {
  const before = JSON.stringify(state.fields);
  await fill(find("trouble"), askFields, ({ answer }) => {
    state.fields = answer.fields;
    return [];
  });
  state.isRefused = find("trouble").children.length > 0;
  if (JSON.stringify(state.fields) === before && find("filter-form").children.length) return;
  state.filter = null;
  buildFilters();
}

/** Without its store a server goes on giving lists, so the fields are those known before. */
async function askFields() {
  try {
    return await ask("GET", ["v1", state.namespace, "catalogue"]);
  } catch (error) {
    if (error.status !== 503) throw error;
    return { answer: { fields: state.fields } };
  }
}

/** Keep the key as long as this tab, where the browser lets us. */
function keep(key) {
  try {
    sessionStorage.setItem("recsys-key", key);
  } catch {
    // then it is typed again
  }
}

function kept() {
  try {
    return sessionStorage.getItem("recsys-key") ?? "";
  } catch {
    return "";
  }
}

function openFromAddress() {
  const told = new URLSearchParams(location.hash.slice(1)),
    form = find("open").elements;
  form.namespace.value = told.get("ns") ?? "";
  form.user.value = told.get("user") ?? "";
  form.key.value = kept();
  state.view = told.get("view") in VIEWS ? told.get("view") : "user";
  return form.namespace.value ? open() : show(state.view);
}

const holdTab = roving(document.querySelector("[role=tablist]"), "[role=tab]", ["ArrowLeft", "ArrowRight"]);
Object.keys(VIEWS).forEach((name) => find(`tab-${name}`).addEventListener("click", () => show(name)));
find("open").addEventListener("submit", (event) => (event.preventDefault(), open()));
find("skip").addEventListener("click", (event) => (event.preventDefault(), find("main").focus()));
addEventListener("hashchange", openFromAddress);
openFromAddress();
