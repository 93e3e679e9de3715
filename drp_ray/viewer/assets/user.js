// The page of one user.

const userArea = document.getElementById("user");

function renderUser(number, user, items) {
  compared.clear();
  retrievedBy.clear();
  const there = user.runs.map((run, place) => ({ place, name: index.runs[place].name, run })).filter((each) => each.run);
  const piece = (run, kind) => (run[kind] === undefined ? null : user.pieces[run[kind]]);
  const of = { number, user, items, there, piece };
  userArea.replaceChildren(
    ...[heading(of), scoreTable(of), ...targets(of), summaries(of), comparisons(of), retrieved(of), peers(of), calls(of)].filter(Boolean),
  );
  markAll();
}

function heading({ number, user, there, piece }) {
  const at = listed.indexOf(number);
  const where = at < 0 ? "not in the list as it is filtered" : `${count(at + 1)} of ${count(listed.length)} in the list`;
  const step = (by, label, key) => {
    const to = at < 0 ? undefined : listed[at + by];
    const attributes = { class: "button", title: `${label} (${key})`, "aria-label": label };
    return to === undefined
      ? make("span", { ...attributes, "aria-disabled": "true", role: "link" }, label)
      : make("a", { ...attributes, href: linkTo(index.users.id[to]) }, label);
  };
  return make(
    "header",
    { class: "user-head" },
    make("div", { class: "steps" }, make("a", { class: "button", href: "#" }, "Summary"), step(-1, "Previous", "k"), step(1, "Next", "j")),
    make("h2", { tabindex: "-1", id: "user-title", dir: "auto" }, user.user_id),
    make("p", { class: "quiet" }, where),
    there.map(({ place, name, run }) => state(piece(run, "prediction"), place, name, user)),
  );
}

function state(prediction, place, name, user) {
  if (prediction.status !== "ok") {
    return make("p", { class: "alert" }, runName(place, name), " failed: ", textOf(user, prediction.error) ?? "no reason was kept");
  }
  if (prediction.fallback === null) return null;
  return make("p", { class: "note" }, runName(place, name), ` was written by ${prediction.method}: ${prediction.fallback}`);
}

function runName(place, name) {
  return make("span", { class: `run run${place % 8}` }, name);
}

function names(places) {
  return make("span", { class: "runs" }, places.map(({ place, name }) => [runName(place, name), " "]));
}

function scoreTable({ number, there }) {
  const shows = index.measures.filter(({ name }) => there.some(({ place }) => score(place, name, number) !== null));
  if (shows.length === 0) return null;
  const cell = ({ place }, { name, digits: n }) => {
    const value = score(place, name, number);
    const base = there.find((each) => haveOneTarget(each.place, place, number)).place;
    const first = score(base, name, number);
    const differs = place !== base && value !== null && first !== null;
    return make("td", { class: "number" }, value === null ? "–" : value.toFixed(n), differs && [" ", change(value - first, n, isMerit(name))]);
  };
  const table = make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores of this user" },
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Run"), shows.map(({ title }) => make("th", { scope: "col", class: "number" }, title)), make("th", { scope: "col", class: "number" }, "Characters"))),
      make(
        "tbody",
        {},
        there.map((each) =>
          make("tr", {}, make("th", { scope: "row" }, runName(each.place, each.name)), shows.map((one) => cell(each, one)), make("td", { class: "number" }, lengthOf(each.place, number))),
        ),
      ),
    ),
  );
  const isOne = there.every(({ place }) => haveOneTarget(place, there[0].place, number));
  const against = isOne ? runName(there[0].place, there[0].name) : "the first run that was to write the same review";
  return make("div", {}, table, there.length > 1 && make("p", { class: "quiet" }, "Changes are against ", against, "."));
}

function lengthOf(place, number) {
  const [own, wanted] = [index.runs[place].prediction_chars[number], index.runs[place].reference_chars[number]];
  return own === null ? "–" : `${count(own)} of ${count(wanted)}`;
}

function section(title, ...children) {
  return make("section", { class: "part" }, make("h3", {}, title), children);
}

function aboutItem(holder, id, title, description) {
  const name = textOf(holder, title);
  const text = textOf(holder, description);
  return [
    make("p", { class: "item" }, make("strong", { dir: "auto" }, name ?? id), name !== null && make("span", { class: "quiet" }, ` ${id}`)),
    text && folded("Description of the item", false, prose(text)),
  ];
}

/** The head of a review: rating, title, date, and whatever is to be said besides. */
function reviewHead(holder, review, ...besides) {
  const title = textOf(holder, review.title);
  return make("p", { class: "review-head" }, stars(review.rating), title && [" ", make("strong", { dir: "auto" }, title)], " ", day(review.timestamp), besides);
}

/** What was to be written and what was, once for each review that runs were to write. */
function targets(of) {
  const groups = groupsOf(of.there, ({ place }) => index.runs[place].target[of.number]);
  return groups.flatMap((there, place) => {
    const own = { ...of, there, runs: groups.length > 1 ? names(there) : null, isFirst: place === 0 };
    return [target(own), reviews(own)];
  });
}

function target({ user, there, piece, runs }) {
  const { target: wanted } = piece(there[0].run, "context");
  const [name, description] = aboutItem(user, wanted.item_id, wanted.item_title, wanted.item_description);
  return section("Target: the review to be written", runs, name, reviewHead(user, wanted), description);
}

function reviews({ user, there, piece, isFirst }) {
  const reference = textOf(user, piece(there[0].run, "context").reference);
  const column = ({ place, name, run }) => {
    const prediction = piece(run, "prediction");
    const text = textOf(user, prediction.prediction);
    const shown = prediction.status === "ok" ? prose(text, "written") : make("p", { class: "alert" }, "failed: ", textOf(user, prediction.error));
    if (typeof text === "string" && typeof reference === "string") compared.set(paragraphOf(shown), reference);
    return make("div", { class: "column" }, make("h4", {}, runName(place, name)), shown);
  };
  const real = prose(reference, "written");
  const texts = there.map(({ run }) => textOf(user, piece(run, "prediction").prediction)).filter((text) => typeof text === "string");
  if (typeof reference === "string" && texts.length > 0) compared.set(paragraphOf(real), texts.join("\n"));
  return section(
    "The real review and what was written",
    isFirst && index.has_texts && canMark && marksSwitch(),
    make("div", { class: "columns" }, make("div", { class: "column real" }, make("h4", {}, "The user's real review"), real), there.map(column)),
  );
}

const paragraphOf = (made) => (made.matches(".prose") ? made : made.querySelector(".prose") ?? made);

function marksSwitch() {
  const box = make("input", { type: "checkbox", id: "marks", checked: marksAreOn });
  box.addEventListener("change", () => {
    marksAreOn = box.checked;
    markAll();
  });
  return make("p", { class: "legend" }, make("label", {}, box, " Mark "), make("span", { class: "key-shared" }, "words that both have"), " and ", make("span", { class: "key-phrase" }, "phrases that both have"));
}

function summaries({ user, there, piece }) {
  const written = there.map((each) => ({ ...each, prediction: piece(each.run, "prediction") }));
  const thoughts = ({ run }) => thinking(user, piece(run, "prediction_thoughts"));
  if (written.every((each) => each.prediction.summary === null && !thoughts(each))) {
    if (index.has_texts || !written.some((each) => each.prediction.n_differences > 0)) return null;
  }
  return section(
    "Summary of the user",
    make(
      "div",
      { class: "columns" },
      written.map((each) => make("div", { class: "column" }, make("h4", {}, runName(each.place, each.name)), each.prediction.summary === null && index.has_texts ? make("p", { class: "prose none" }, "this run writes without a summary") : prose(textOf(user, each.prediction.summary)), thoughts(each))),
    ),
  );
}

function thinking(user, thoughts) {
  const kept = (thoughts ?? []).filter((each) => textOf(user, each.thinking) || !index.has_texts);
  if (kept.length === 0) return null;
  return kept.map((each) => folded(`Reasoning of the ${each.role}`, false, prose(textOf(user, each.thinking))));
}

/** Runs with the same of something are shown once. */
function groupsOf(there, keyOf) {
  const groups = new Map();
  for (const each of there) {
    const key = keyOf(each);
    if (key === undefined) continue;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(each);
  }
  return [...groups.values()];
}

function comparisons({ user, items, there, piece }) {
  const groups = groupsOf(there, ({ run }) => (run.comparisons === undefined ? undefined : `${run.comparisons} ${run.differences} ${run.difference_thoughts}`));
  if (groups.length === 0) return null;
  const found = new Map();
  for (const group of groups) {
    for (const one of piece(group[0].run, "comparisons")) {
      if (!found.has(one.item_id)) found.set(one.item_id, []);
      found.get(one.item_id).push({ group, one });
    }
  }
  const cards = [...found].map(([id, sides]) => comparison(user, items.get(id), id, sides, piece, there.length > 1));
  return section(`Comparisons with other reviewers (${found.size})`, cards);
}

function comparison(user, item, id, sides, piece, isLabelled) {
  const differing = sides.map(({ group, one }) => {
    const found = (piece(group[0].run, "differences") ?? []).find((each) => each.item_id === id);
    const thoughts = (piece(group[0].run, "difference_thoughts") ?? []).filter((each) => each.item_id === id);
    return make("div", { class: "column" }, isLabelled && make("h5", {}, names(group)), found ? differences(user, found) : null, thinking(user, thoughts), one.representatives.length === 0 && make("p", { class: "quiet" }, "Nobody to compare with."));
  });
  const distinct = [...new Map(sides.map((side) => [JSON.stringify(side.one.representatives), side])).values()];
  const { one } = sides[0];
  const title = item ? textOf(item, item.title) : null;
  const summary = [make("span", { class: "rank" }, `${one.rank + 1}`), " ", make("strong", { dir: "auto" }, title ?? id), make("span", { class: "quiet" }, ` ${tally(user, sides, piece)}`)];
  return card(
    summary,
    one.rank === 0,
    item && textOf(item, item.description) && folded("Description of the item", false, prose(textOf(item, item.description))),
    make("div", { class: "columns" }, differing),
    make("h5", {}, "This user's review", groupChip(one.cluster)),
    make("div", { class: "review own" }, reviewHead(user, one.review), prose(textOf(user, one.review.text))),
    distinct.map((side) => [
      make("h5", {}, "The others, by their representatives", distinct.length > 1 && names(side.group)),
      make("div", { class: "columns" }, side.one.representatives.map((each) => representative(item, each))),
    ]),
  );
}

function tally(user, sides, piece) {
  return sides
    .map(({ group, one }) => {
      const found = (piece(group[0].run, "differences") ?? []).find((each) => each.item_id === one.item_id);
      if (!found) return "";
      if (found.status !== "ok") return "failed";
      const states = found.differences.map((each) => each.state);
      const number = (state) => states.filter((each) => each === state).length;
      const removed = number("removed");
      if (states.length === 0 && index.has_texts) return "no readable difference";
      return `${states.length - removed} ${states.length - removed === 1 ? "difference" : "differences"}${removed ? `, ${removed} removed by validation` : ""}`;
    })
    .filter(Boolean)
    .join(" / ");
}

const groupChip = (cluster) => (cluster === null || cluster < 0 ? null : make("span", { class: "chip" }, `group ${cluster + 1}`));

function representative(item, { peer, cluster }) {
  const review = item?.peers.get(peer);
  if (!review) return null;
  return make("div", { class: "review" }, make("p", { class: "quiet" }, make("span", { dir: "auto" }, review.user_id), groupChip(cluster)), reviewHead(item, review), prose(textOf(item, review.text)));
}

const STATES = {
  found: "found",
  kept: "kept by validation",
  changed: "reworded by validation",
  removed: "removed by validation",
  added: "added by validation",
};

function differences(user, row) {
  if (row.status !== "ok") return make("p", { class: "alert" }, "failed: ", textOf(user, row.error));
  const entries = row.differences.map((each) => difference(user, each));
  const replies = [
    row.extracted !== null && folded(row.validated === null ? "The model's reply" : "The reply before validation", false, prose(textOf(user, row.extracted))),
    row.validated !== null && folded("The reply of validation", false, prose(textOf(user, row.validated))),
  ];
  const none = entries.length === 0 && make("p", { class: "quiet" }, index.has_texts ? "No difference could be read from the reply." : "No difference.");
  return [make("ul", { class: "differences" }, entries), none, index.has_texts && replies];
}

function difference(user, one) {
  const [name, definition, description] = [one.name, one.definition, one.description].map((value) => textOf(user, value));
  return make(
    "li",
    { class: one.state },
    make("p", {}, make("strong", { dir: "auto" }, name ?? "a difference"), " ", make("span", { class: `badge state-${one.state}` }, STATES[one.state] ?? one.state)),
    definition && make("p", { class: "definition", dir: "auto" }, definition),
    description && prose(description),
    one.was && folded("Before validation", false, prose(textOf(user, one.was.definition)), prose(textOf(user, one.was.description))),
  );
}

function retrieved({ user, there, piece }) {
  const groups = groupsOf(there, ({ run }) => JSON.stringify(piece(run, "context").history));
  const parts = groups.map((group) => {
    const context = piece(group[0].run, "context");
    if (context.history.length === 0) return [groups.length > 1 && names(group), make("p", { class: "quiet" }, "No past review.")];
    const query = queryOf(user, context.target, index.query);
    return [
      groups.length > 1 && make("h4", {}, names(group)),
      query && make("p", { class: "query" }, make("span", { class: "quiet" }, "Asked for: "), make("span", { dir: "auto" }, query.length > 400 ? `${query.slice(0, 400)} …` : query)),
      context.history.map((review, rank) => pastReview(user, review, rank, query)),
    ];
  });
  return section(`Past reviews that were retrieved (${Math.max(...groups.map((group) => piece(group[0].run, "context").history.length))})`, parts);
}

const FIELDS = { item_title: "item_title", item_description: "item_description", review_title: "title", review_text: "text" };

function queryOf(user, review, fields) {
  return fields.map((field) => textOf(user, review[FIELDS[field]] ?? null) ?? "").join(" ").trim();
}

function pastReview(user, review, rank, query) {
  const seen = (field) => index.document.includes(field);
  const fold = (token) => (index.lowercase ? token.toLowerCase() : token);
  const tokens = (text) => new Set(text.split(/\s+/u).filter(Boolean).map(fold));
  const wanted = tokens(query);
  const own = tokens(queryOf(user, review, index.document));
  const hits = [...wanted].filter((token) => own.has(token)).length;
  const why = query ? `${count(hits)} of ${count(wanted.size)} words asked for` : "";
  const marked = (element, field) => {
    if (query && seen(field) && element) retrievedBy.set(element, query);
    return element;
  };
  const texts = [review.item_title, review.title, review.item_description].map((value) => textOf(user, value));
  const title = texts[1] && marked(make("strong", { dir: "auto" }, texts[1]), "review_title");
  const description = texts[2] && prose(texts[2]);
  if (description) marked(paragraphOf(description), "item_description");
  const body = prose(textOf(user, review.text));
  if (textOf(user, review.text)) marked(paragraphOf(body), "review_text");
  return card(
    [make("span", { class: "rank" }, `${rank + 1}`), " ", texts[0] ? marked(make("span", { dir: "auto" }, texts[0]), "item_title") : review.item_id, make("span", { class: "quiet" }, ` ${why}`)],
    rank === 0,
    make("p", { class: "review-head" }, stars(review.rating), " ", title, " ", day(review.timestamp)),
    body,
    description && folded("Description of the item", false, description),
  );
}

function peers({ user, there, piece }) {
  const groups = groupsOf(there, ({ run }) => (piece(run, "context").peers.length ? JSON.stringify(piece(run, "context").peers) : undefined));
  if (groups.length === 0) return null;
  const parts = groups.map((group) => [
    there.length > 1 && make("h4", {}, names(group)),
    piece(group[0].run, "context").peers.map((review) =>
      card(
        [make("span", { dir: "auto" }, review.user_id), " on ", make("strong", { dir: "auto" }, textOf(user, review.item_title) ?? review.item_id)],
        false,
        reviewHead(user, review),
        prose(textOf(user, review.text)),
      ),
    ),
  ]);
  return section("Reviews by others that the method read", parts);
}

function calls({ there, piece }) {
  const line = (name, place, what, row) => [
    make("tr", {}, make("th", { scope: "row" }, runName(place, name)), make("td", {}, what), make("td", { class: "number" }, count(row.prompt_tokens)), make("td", { class: "number" }, count(row.cached_tokens)), make("td", { class: "number" }, count(row.completion_tokens)), make("td", { class: "number" }, count(row.thinking_tokens)), make("td", { class: "number" }, row.attempts), make("td", {}, [row.finish_reason, row.truncated && "input shortened"].filter(Boolean).join(", "))),
  ];
  const sum = (found) => Object.fromEntries(["prompt_tokens", "cached_tokens", "completion_tokens", "thinking_tokens", "attempts"].map((key) => [key, found.reduce((total, each) => total + each[key], 0)]));
  const lines = there.flatMap(({ place, name, run }) => {
    const found = piece(run, "differences") ?? [];
    return [found.length > 0 && line(name, place, `differences on ${found.length} items`, { ...sum(found), finish_reason: "" }), line(name, place, "summary and review", piece(run, "prediction"))].filter(Boolean);
  });
  const head = ["Run", "Calls", "Tokens in", "Cached", "Out", "Thinking", "Attempts", "Ended by"];
  return section("What it cost", make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Tokens of this user" }, make("table", {}, make("thead", {}, make("tr", {}, head.map((each, at) => make("th", { scope: "col", class: at > 1 && at < 7 ? "number" : null }, each)))), make("tbody", {}, lines))));
}
