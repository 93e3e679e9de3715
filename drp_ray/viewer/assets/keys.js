// Keys: j and k go through the list, / searches, m marks, t changes light and dark, ? explains, Escape goes back.

const help = document.getElementById("help");

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => {
    showView("users");
    control.search.focus();
    control.search.select();
  },
  m: () => document.getElementById("marks")?.click(),
  t: changeTheme,
  "?": () => help.showModal(),
  Escape: () => {
    if (opened !== null) location.hash = "";
  },
};

function step(by) {
  if (listed.length === 0) return;
  const at = opened === null ? -1 : listed.indexOf(opened);
  const to = at < 0 ? 0 : at + by;
  if (listed[to] !== undefined) location.hash = linkTo(index.users.id[listed[to]]);
}

function changeTheme() {
  const root = document.documentElement;
  const isDark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const isTyping = event.target.matches?.("input[type=search], select, textarea");
  if (isTyping) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target === control.search)) event.target.blur();
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.getElementById("theme").addEventListener("click", changeTheme);
document.getElementById("keys").addEventListener("click", () => help.showModal());
document.getElementById("close-help").addEventListener("click", () => help.close());
