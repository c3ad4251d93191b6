const LINE = 14; // of text, in pixels; drawings are made in the pixels they are shown in

const place = (text, x, y, anchor = "start", kind = "") =>
  make("text", { x, y, "text-anchor": anchor, class: kind }, text);

/** Round steps, the first at most `low` and the last at least `high`. */
function ticksOver(low, high, about = 5) {
  const rough = (high - low || Math.abs(high) || 1) / about,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9));
  const first = Math.floor(low / step + 1e-9),
    last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step);
}

const drawing = (width, height, title) =>
  make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });

/** Draw rows of one horizontal scale: a label above each, and between 0 and the last tick what `mark` draws. */
function rowsChart(width, title, axis, rows, most, mark) {
  const ticks = ticksOver(0, most),
    left = 4,
    right = width - 16,
    top = 6,
    height = 38;
  const bottom = top + rows.length * height + 4;
  const x = (value) => left + ((right - left) * value) / ticks.at(-1);
  const svg = drawing(width, bottom + 40, title);
  for (const tick of ticks) {
    svg.append(make("line", { x1: x(tick), x2: x(tick), y1: top, y2: bottom, class: "grid" }));
    svg.append(place(shown(tick), x(tick), bottom + LINE, tick === 0 ? "start" : "middle", "soft"));
  }
  svg.append(place(axis, left, bottom + 2 * LINE + 6, "start", "soft"));
  rows.forEach((row, n) => {
    const y = top + n * height + LINE - 2;
    svg.append(place(row.label, left, y, "start", "name"), ...mark(row, x, y + 12));
  });
  return svg;
}

/** Where the median and the slowest hundredth of each route are. */
function latencyChart(width, routes) {
  const rows = routes.map((one) => ({ ...one, label: `${one.method} ${one.route}` }));
  const most = Math.max(...rows.map((one) => one.p99_ms));
  const axis =
    width < 480
      ? "milliseconds: ● p50, ○ p99"
      : "milliseconds in the app: ● half of the calls (p50), ○ 99 of 100 (p99)";
  return rowsChart(width, "Latency by route, in milliseconds", axis, rows, most, (row, x, y) => [
    make("line", { x1: x(row.p50_ms), x2: x(row.p99_ms), y1: y, y2: y, class: "span" }),
    make("circle", { cx: x(row.p99_ms), cy: y, r: 4.5, class: "ring" }),
    make("circle", { cx: x(row.p50_ms), cy: y, r: 4.5, class: "dot" }),
  ]);
}

/** What lists came from, in percent of them. */
function sharesChart(width, strategies) {
  const total = Object.values(strategies).reduce((sum, n) => sum + n, 0);
  const rows = Object.entries(strategies)
    .sort((a, b) => b[1] - a[1])
    .map(([name, n]) => ({
      share: (100 * n) / total,
      label: `${name}: ${((100 * n) / total).toFixed(1)} % (${n.toLocaleString("en")})`,
    }));
  return rowsChart(
    width,
    "Strategies, in percent of lists",
    `percent of ${counted(total, "list")}`,
    rows,
    100,
    (row, x, y) => [
      make("rect", { x: x(0), y: y - 5, width: Math.max(2, x(row.share) - x(0)), height: 9, rx: 2, class: "bar" }),
    ],
  );
}

/** A metric of the versions that have it, oldest first; the version in service is filled. */
function metricChart(width, metric, models) {
  const points = models.filter((one) => metric in one.metrics).reverse();
  const isSmall = width < 480, height = isSmall ? 220 : 380;
  const [left, right, top, bottom] = [56, width - 24, 28, height - 44];
  const values = points.map((one) => one.metrics[metric]);
  const ticks = ticksOver(Math.min(...values), Math.max(...values), isSmall ? 4 : 6);
  const step = (right - left - 24) / Math.max(1, points.length - 1);
  const x = (n) => (points.length > 1 ? left + 12 + step * n : (left + right) / 2);
  const y = (value) => bottom - ((bottom - top) * (value - ticks[0])) / (ticks.at(-1) - ticks[0]);
  const svg = drawing(width, height, `${metric} by version`);
  svg.append(place(`${metric}, as judged before publishing`, 4, 14, "start", "soft"));
  for (const tick of ticks) {
    svg.append(make("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: "grid" }));
    svg.append(place(shown(tick), left - 8, y(tick) + 4, "end", "soft"));
  }
  const line = values.map((value, n) => `${n ? "L" : "M"}${x(n)} ${y(value)}`).join(" ");
  svg.append(make("path", { d: line, class: "span" }), ...points.map((one, n) => version(one, x(n), y(values[n]))));
  const times = points.map((one) => moment(one.created_at).textContent);
  if (times.length > 1) svg.append(place(times[0], left, bottom + 18, "start", "soft"));
  const [last, anchor] = times.length > 1 ? [right, "end"] : [x(0), "middle"];
  svg.append(place(times.at(-1), last, bottom + 18, anchor, "soft"));
  svg.append(place("by time made (UTC), ● in service", 4, bottom + 36, "start", "soft"));
  return svg;
}

const version = ({ in_service: isServed }, cx, cy) =>
  make("circle", { cx, cy, r: isServed ? 6 : 4.5, class: isServed ? "dot" : "ring" });

const drawings = new Map();

/** Draw now and whenever the width changes. */
function drawn(draw) {
  const holder = make("div", { class: "drawing" });
  drawings.set(holder, draw);
  return holder;
}

const watcher = new ResizeObserver((entries) => entries.forEach(({ target }) => redraw(target)));

function redraw(view) {
  for (const [holder, draw] of drawings) {
    if (!holder.isConnected) drawings.delete(holder);
    else if (view.contains(holder) && holder.clientWidth) holder.replaceChildren(draw(holder.clientWidth));
  }
}
