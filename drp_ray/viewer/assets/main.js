// Opens what the address names, and starts.

let opened = null;
let opening = 0;
const summary = document.getElementById("summary");
const notice = document.getElementById("notice");

/** On a narrow screen either the list or the rest is shown. */
function showView(name) {
  document.body.dataset.view = name;
  for (const tab of document.querySelectorAll("[data-tab]")) tab.setAttribute("aria-pressed", String(tab.dataset.tab === name));
}

/** The id that the address names; one that was not encoded is taken as it stands. */
function namedUser() {
  const id = location.hash.startsWith("#user=") ? location.hash.slice(6) : "";
  try {
    return decodeURIComponent(id);
  } catch (error) {
    if (error instanceof URIError) return id;
    throw error;
  }
}

/** Say something above the report; an empty text takes it away. */
function tell(words) {
  notice.textContent = words;
  notice.hidden = !words;
}

const tellProblem = (problem) => tell(problem.message);

async function open() {
  const mine = ++opening;
  const id = namedUser();
  const number = place.get(id);
  tell(id && number === undefined ? `There is no user ${id} in this report${index.is_sample ? ", which holds a sample of them" : ""}.` : "");
  if (number === undefined) {
    show(null);
    return;
  }
  const user = await readUser(number);
  const items = await readItems(comparisonsOf(user).map((each) => each.item_id));
  if (mine !== opening) return;
  renderUser(number, user, items);
  show(number);
  userArea.removeAttribute("aria-busy");
  document.getElementById("user-title").focus({ preventScroll: true });
  document.getElementById("main").scrollTop = 0;
  if (document.body.dataset.narrow === undefined) scrollTo(0, 0);
}

function show(number) {
  opened = number;
  userArea.hidden = number === null;
  summary.hidden = number !== null;
  if (number === null) userArea.replaceChildren();
  document.title = number === null ? index.title : `${index.users.id[number]} – ${index.title}`;
  showView("rest");
  markCurrent();
}

let typing = 0;
control.search.addEventListener("input", () => {
  clearTimeout(typing);
  showView("users");
  typing = setTimeout(() => beginSearch(control.search.value, () => { showList(); markAll(); }).catch(tellProblem), 120);
});
control.search.addEventListener("focus", () => readAll().catch(tellProblem));
for (const [name, select] of Object.entries(control)) {
  if (name !== "search") select?.addEventListener("change", showList);
}
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
for (const tab of document.querySelectorAll("[data-tab]")) tab.addEventListener("click", () => showView(tab.dataset.tab));
addEventListener("hashchange", () => open().catch(tellProblem));
showList();
document.documentElement.setAttribute("data-ready", "");
open().catch(tellProblem);
