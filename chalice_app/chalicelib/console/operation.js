const FIRST = ["ndcg", "recall", "precision", "hit_rate", "map", "mrr", "rmse", "mae"]; // of the metrics there are

/** Names of the metrics of some versions: those asked for most come first. */
function metricsOf(models) {
  const place = (name) => (FIRST.indexOf(name.split("@")[0]) + FIRST.length + 1) % (FIRST.length + 1);
  const names = [...new Set(models.flatMap((one) => Object.keys(one.metrics)))];
  return names.sort((a, b) => place(a) - place(b) || a.localeCompare(b, "en", { numeric: true }));
}

/** Show the versions of the namespace, their metrics, and which one answers. */
async function showModels() {
  const panel = find("models");
  await fill(
    panel,
    () => ask("GET", ["v1", state.namespace, "models"]),
    ({ answer: { models } }) => {
      if (!models.length) return [note("No version is published.")];
      const metrics = metricsOf(models);
      announce(`${counted(models.length, "version")} of ${state.namespace}`);
      return [
        make("div", { class: "columns" }, metricPart(metrics, models), servicePart(models)),
        make("article", {}, make("h2", {}, "Versions"), modelTable(metrics, models)),
      ];
    },
  );
  redraw(panel);
}

function metricPart(metrics, models) {
  if (!metrics.length)
    return make("article", {}, make("h2", {}, "Metrics"), note("No version was judged before it was published."));
  const choice = make(
    "select",
    { change: () => redraw(find("models")) },
    ...metrics.map((name) => make("option", {}, name)),
  );
  return make(
    "article",
    {},
    make(
      "div",
      { class: "bar" },
      make("h2", {}, "Metrics by version"),
      make("label", { class: "inline" }, "Metric ", choice),
    ),
    drawn((width) => metricChart(width, choice.value, models)),
  );
}

function servicePart(models) {
  const one = models.find((each) => each.in_service),
    heading = make("h2", {}, "In service");
  if (!one) return make("article", {}, heading, note("None of these versions."));
  const told = [
    ["version", make("span", { class: "mono" }, one.version)],
    ["kind", one.kind],
    ["made", moment(one.created_at)],
  ];
  return make("article", {}, heading, definitions(told), metricTable(one));
}

/** Metrics of one version, those of a name side by side: ndcg at 10, at 20. */
function metricTable(model) {
  const names = metricsOf([model]),
    lengths = [...new Set(names.map((name) => name.split("@")[1] ?? ""))];
  const cell = (name) => make("td", { class: "right" }, name in model.metrics ? shown(model.metrics[name]) : "–");
  const line = (name) => [
    make("th", { scope: "row" }, name),
    ...lengths.map((length) => cell(length ? `${name}@${length}` : name)),
  ];
  const lines = [...new Set(names.map((name) => name.split("@")[0]))].map(line);
  return lines.length
    ? table(
        "Metrics of the version in service",
        ["Metric"],
        lengths.map((one) => one && `@${one}`),
        lines,
      )
    : null;
}

function modelTable(metrics, models) {
  const line = (one) => [
    make(
      "th",
      { scope: "row" },
      make("span", { class: "mono" }, one.version),
      " ",
      one.in_service ? chip("in service", "good") : null,
    ),
    make("td", {}, one.kind),
    make("td", {}, moment(one.created_at)),
    ...metrics.map((name) => make("td", { class: "right" }, name in one.metrics ? shown(one.metrics[name]) : "–")),
  ];
  return table("Versions, newest first", ["Version", "Kind", "Made (UTC)"], metrics, models.map(line));
}

/** A table that scrolls by itself where it is wider than the page. */
function table(label, texts, numbers, lines) {
  const head = [
    ...texts.map((one) => make("th", { scope: "col" }, one)),
    ...numbers.map((one) => make("th", { scope: "col", class: "right" }, one)),
  ];
  return make(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": label },
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...lines.map((cells) => make("tr", {}, ...cells))),
    ),
  );
}

/** Show how this process of the service has been doing. */
async function showService() {
  const panel = find("metrics");
  await fill(
    panel,
    () => ask("GET", ["metrics"]),
    ({ answer }) => {
      const calls = counted(
        answer.routes.reduce((sum, one) => sum + one.count, 0),
        "call",
      );
      announce(`${calls} so far`);
      return [
        make(
          "p",
          { class: "facts" },
          make("span", {}, "One process, since ", moment(Math.ceil(answer.since_s)), ` UTC: ${calls}`),
          answer.degraded
            ? chip(`${counted(answer.degraded, "list")} degraded`, "warn")
            : chip("no list degraded", "good"),
        ),
        make("div", { class: "columns even" }, ...drawingsOf(answer)),
        make("article", {}, make("h2", {}, "Routes"), routeTable(answer.routes)),
      ];
    },
  );
  redraw(panel);
}

function drawingsOf({ routes, strategies }) {
  const latency = routes.length ? drawn((width) => latencyChart(width, routes)) : note("No call yet.");
  const isAsked = Object.keys(strategies).length > 0;
  const shares = isAsked ? drawn((width) => sharesChart(width, strategies)) : note("No list yet.");
  return [
    make("article", {}, make("h2", {}, "Latency"), latency),
    make("article", {}, make("h2", {}, "Strategies"), shares),
  ];
}

function routeTable(routes) {
  const line = (one) => [
    make("th", { scope: "row", class: "mono" }, `${one.method} ${one.route}`),
    ...[one.count, one.errors].map((number) => make("td", { class: "right" }, number.toLocaleString("en"))),
    ...[one.p50_ms, one.p99_ms].map((number) => make("td", { class: "right" }, shown(Number(number.toPrecision(2))))),
  ];
  return table("Routes", ["Route"], ["calls", "errors (5xx)", "p50 (ms)", "p99 (ms)"], routes.map(line));
}

watcher.observe(find("metrics"));
watcher.observe(find("models"));
