// Search over ids and all texts. Ids are found at once. Texts are unpacked at the first search and kept, in lower case,
// so that only that one takes its time; what it finds appears as it is found.

const search = { query: "", hits: null, number: 0, isRunning: false };

/** What has been unpacked: texts, each with the users on whose pages it stands. */
const entries = [];
const unread = [...new Map(index.items.at.map((at) => [at.join(), at])).values()].map((at) => () => itemEntries(at));
unread.push(...index.users.at.map((at, number) => () => userEntries(at, number)));
unread.reverse();
let reading = null;

const AT_A_TIME_MS = 40;

/** Unpack more texts, for so long that the page stays usable; false where there are no more. */
function readMore() {
  reading ??= (async () => {
    await pause(0);
    const began = performance.now();
    while (unread.length > 0 && performance.now() - began < AT_A_TIME_MS) entries.push(...(await unread.pop()()));
    reading = null;
  })();
  return reading;
}

/** Unpack all texts, so that a search finds them unpacked: begun when its field is chosen. */
async function readAll() {
  while (index.has_texts && unread.length > 0) await readMore();
}

async function userEntries(at, number) {
  const written = await unpack(at);
  return [{ text: written.slice(written.indexOf("\n") + 1).toLowerCase(), users: [number] }];
}

/** An item and the reviews by others on it: each knows the users who were compared with it. */
async function itemEntries(at) {
  const bundle = parse(await unpack(at));
  const entry = ({ users }, ...texts) => ({ users, text: texts.map((text) => textOf(bundle, text) ?? "").join("\n").toLowerCase() });
  return bundle.items.flatMap((item) => [entry(item, item.title, item.description), ...item.peers.map((peer) => entry(peer, peer.title, peer.text))]);
}

/** Begin a search; `changed` is called when there is more to show. It ends when another one begins. */
async function beginSearch(typed, changed) {
  const mine = ++search.number;
  const query = (search.query = typed.trim().toLowerCase());
  search.hits = query ? new Set() : null;
  search.isRunning = Boolean(query) && index.has_texts;
  if (query) index.users.id.forEach((id, number) => id.toLowerCase().includes(query) && search.hits.add(number));
  let [shown, showing] = [-Infinity, -1];
  for (let at = 0; search.isRunning; ) {
    for (; at < entries.length; at++) if (entries[at].text.includes(query)) entries[at].users.forEach((number) => search.hits.add(number));
    search.isRunning = unread.length > 0 || reading !== null;
    if (!search.isRunning) break;
    if (performance.now() - shown > 300 && search.hits.size !== showing) {
      changed();
      [shown, showing] = [performance.now(), search.hits.size];
    }
    await readMore();
    if (mine !== search.number) return;
  }
  changed();
}
