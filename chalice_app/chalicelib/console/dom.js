/** What is open. */
const state = {
  namespace: "",
  user: "",
  key: "",
  view: "user",
  item: null,
  fields: {},
  filter: null,
  isRefused: false,
};

const SVG_NAMES = new Set(["svg", "g", "line", "rect", "circle", "path", "text"]);

const find = (id) => document.getElementById(id);

/** Make an element. Strings become text nodes: nothing that an answer holds is ever read as markup. */
function make(name, attributes = {}, ...children) {
  const element = SVG_NAMES.has(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Say something to who listens instead of looking. */
function announce(text) {
  find("status").textContent = text;
}

/** Show a number with as many digits as it deserves; text and the rest as they are. */
function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join(", ");
  if (typeof value === "object" && value !== null) return JSON.stringify(value);
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** Show a time, UTC seconds or ISO 8601, to the minute; midnight is a day. */
function moment(told) {
  const date = new Date(typeof told === "number" ? told * 1000 : told);
  if (Number.isNaN(date.getTime())) return make("span", {}, String(told));
  const text = date.toISOString();
  const minute = text.slice(11, 16);
  return make("time", { datetime: text }, minute === "00:00" ? text.slice(0, 10) : `${text.slice(0, 10)} ${minute}`);
}

const chip = (text, kind = "", title = undefined) => make("span", { class: `chip ${kind}`, title }, text);
const note = (text) => make("p", { class: "note" }, text);

/** A list of names and what they stand for. */
const definitions = (pairs) =>
  make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

/** Move among buttons with the arrow keys; one of them is in the order of Tab. */
function roving(container, selector, [before, after]) {
  const all = () => [...container.querySelectorAll(selector)];
  const hold = (one) => all().forEach((other) => other.setAttribute("tabindex", other === one ? "0" : "-1"));
  container.addEventListener("focusin", (event) => all().includes(event.target) && hold(event.target));
  container.addEventListener("keydown", (event) => {
    const buttons = all(),
      at = buttons.indexOf(event.target);
    const to = { [before]: at - 1, [after]: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(buttons.length - 1, to))].focus();
  });
  return hold;
}
