// The list of users: searched, filtered and sorted.

const list = document.getElementById("list");
const control = Object.fromEntries(
  ["search", "measure", "of", "against", "sort", "method", "state", "half"].map((id) => [id, document.getElementById(id)]),
);
const IN_A_GROUP = 40;
const rows = new Map();
let listed = [];

const measure = () => control.measure.value;
const ofRun = () => Number(control.of?.value ?? 0);
const againstRun = () => (control.against ? Number(control.against.value) : null);
const measureOf = new Map(index.measures.map((each) => [each.name, each]));
const digits = (name) => measureOf.get(name)?.digits ?? 4;
const isMerit = (name) => measureOf.get(name)?.is_merit ?? true;

function score(run, name, number) {
  return index.runs[run].scores[name]?.[number] ?? null;
}

/** Whether two runs were to write the same review for a user. */
const haveOneTarget = (one, other, number) => index.runs[one].target[number] === index.runs[other].target[number];

/** The difference to the other run; null where one of the two has no score, or was to write another review. */
function gain(number, name = measure()) {
  if (againstRun() === null || againstRun() === ofRun()) return null;
  if (!haveOneTarget(ofRun(), againstRun(), number)) return null;
  const [own, other] = [score(ofRun(), name, number), score(againstRun(), name, number)];
  // Rounded, so that equal gains are equal: 0.7 - 0.6 is less than 0.6 - 0.5.
  return own === null || other === null ? null : Math.round((own - other) * 1e9) / 1e9;
}

const SORTS = {
  highest: (number) => negated(score(ofRun(), measure(), number)),
  lowest: (number) => score(ofRun(), measure(), number),
  gain: (number) => negated(gain(number)),
  loss: (number) => gain(number),
  longest: (number) => negated(index.runs[ofRun()].prediction_chars[number]),
  shortest: (number) => index.runs[ofRun()].prediction_chars[number],
  differences: (number) => negated(index.runs[ofRun()].n_differences[number]),
  user: () => 0,
};

const negated = (value) => (value === null ? null : -value);

function isShown(number) {
  const run = index.runs[ofRun()];
  if (search.hits && !search.hits.has(number)) return false;
  if (control.method.value && index.methods[run.method[number]] !== control.method.value) return false;
  if (control.half?.value && String(index.users.half[number]) !== control.half.value) return false;
  const state = control.state.value;
  if (state === "failed") return run.state[number] === "error";
  if (state === "differences") return run.n_failed_differences[number] > 0;
  if (state === "ok") return run.state[number] === "ok";
  if (state === "simpler") return run.fallback[number] !== null;
  return true;
}

function showList() {
  const key = SORTS[control.sort.value];
  const keys = new Map();
  listed = index.users.id.map((_, number) => number).filter(isShown);
  for (const number of listed) keys.set(number, key(number) ?? Infinity);
  listed.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
  list.replaceChildren(...groups(listed.map(row)));
  list.dataset.query = search.query;
  list.setAttribute("aria-busy", String(Boolean(search.isRunning)));
  const found = `${count(listed.length)} of ${count(index.users.id.length)} users`;
  document.getElementById("count").textContent = search.isRunning ? `${found}, still searching the texts …` : found;
  markCurrent();
}

/** Rows in groups: the browser lays out those groups alone that can be seen, and keeps an eye on few of them. */
function groups(items) {
  const starts = Array.from({ length: Math.ceil(items.length / IN_A_GROUP) }, (_, number) => number * IN_A_GROUP);
  return starts.map((start) => {
    const own = items.slice(start, start + IN_A_GROUP);
    return make("div", { role: "presentation" }, own);
  });
}

function row(number) {
  if (!rows.has(number)) {
    const id = index.users.id[number];
    const link = make("a", { href: linkTo(id), "data-user-id": id });
    rows.set(number, { item: make("div", { role: "listitem" }, link), link, shows: "" });
  }
  const found = rows.get(number);
  const shows = `${measure()} ${ofRun()} ${againstRun()}`;
  if (found.shows !== shows) {
    found.link.replaceChildren(...labels(number));
    found.shows = shows;
  }
  return found.item;
}

function labels(number) {
  const run = index.runs[ofRun()];
  const value = score(ofRun(), measure(), number);
  const state = run.state[number];
  const note = state === "error" ? "failed" : state === null ? "not in this run" : run.fallback[number] !== null ? index.methods[run.method[number]] : null;
  return [
    make("span", { class: "id", dir: "auto" }, index.users.id[number]),
    note && make("span", { class: state === "error" ? "badge bad" : "badge" }, note),
    make("span", { class: "value" }, value === null ? "–" : value.toFixed(digits(measure()))),
    againstRun() !== null && againstRun() !== ofRun() && change(gain(number), digits(measure()), isMerit(measure())),
  ].filter(Boolean);
}

const linkTo = (id) => `#user=${encodeURIComponent(id)}`;

function markCurrent() {
  const open = opened === null ? null : rows.get(opened)?.link;
  list.querySelector("[aria-current]")?.removeAttribute("aria-current");
  if (open) {
    open.setAttribute("aria-current", "page");
    if (open.isConnected) open.scrollIntoView({ block: "nearest" });
  }
}
