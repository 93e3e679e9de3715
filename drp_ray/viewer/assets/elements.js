// Elements. A text is only ever set as text.

/** Make an element: attributes by name, then children, which are elements, texts, numbers, null or lists of these. */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  append(made, children);
  return made;
}

function append(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child);
    else if (child !== null && child !== undefined && child !== false) {
      parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
}

const CLIPPED = 20000;

/** A text in a paragraph of its own, as it was written. Of a very long one the beginning, until the rest is asked for. */
function prose(text, kind = "") {
  if (text === null || text === undefined) return make("p", { class: "prose none" }, index.has_texts ? "nothing" : "left out");
  if (text === "") return make("p", { class: "prose none" }, "an empty text");
  const paragraph = make("p", { class: `prose ${kind}`, dir: "auto" }, text.slice(0, CLIPPED));
  if (text.length <= CLIPPED) return paragraph;
  const more = make("button", { type: "button", class: "plain" }, `Show all ${count(text.length)} characters`);
  more.addEventListener("click", () => {
    paragraph.textContent = text;
    more.remove();
    markAll();
  });
  return make("div", {}, paragraph, more);
}

const counting = new Intl.NumberFormat("en-US");
const count = (number) => counting.format(number);

function stars(rating) {
  if (rating === null || rating === undefined) return null;
  const full = Math.max(0, Math.min(5, Math.round(rating)));
  const label = `rated ${rating}`;
  return make("span", { class: "stars", role: "img", "aria-label": label, title: label }, "★".repeat(full) + "☆".repeat(5 - full));
}

function day(timestamp) {
  const date = new Date(timestamp);
  if (timestamp === null || timestamp === undefined || Number.isNaN(date.valueOf())) return null;
  return make("time", { datetime: date.toISOString() }, date.toISOString().slice(0, 10));
}

function signed(value, digits) {
  const size = Math.abs(value).toFixed(digits);
  return `${Number(size) === 0 ? "±" : value > 0 ? "+" : "−"}${size}`;
}

/** A difference: an arrow says the direction, so that colour is not all that does. What is no merit has no colour. */
function change(value, digits, isMerit = true) {
  if (value === null) return make("span", { class: "change none" }, "–");
  const rounded = Number(value.toFixed(digits));
  const kind = rounded > 0 ? (isMerit ? "gain" : "more") : rounded < 0 ? (isMerit ? "loss" : "less") : "same";
  const arrow = { gain: "▲", more: "▲", loss: "▼", less: "▼", same: "=" }[kind];
  return make("span", { class: `change ${kind}` }, make("span", { "aria-hidden": "true" }, arrow), ` ${signed(value, digits)}`);
}

/** Details that are a thing of their own: a comparison, a past review. */
function card(summary, open, ...children) {
  const made = folded(summary, open, ...children);
  made.className = "card";
  return made;
}

function folded(summary, open, ...children) {
  return make("details", { open }, make("summary", {}, summary), children);
}
