// Search over ids and all texts. Ids are found at once; texts are unpacked document by document, which takes a second
// for thousands of users, so that what is found appears as it is found.

const search = { query: "", hits: null, number: 0 };
const TOGETHER = 8;

/** Begin a search; `changed` is called when there is more to show. It ends when another one begins. */
async function beginSearch(typed, changed) {
  const mine = ++search.number;
  search.query = typed.trim().toLowerCase();
  search.isRunning = false;
  if (!search.query) {
    search.hits = null;
    changed();
    return;
  }
  search.hits = new Set();
  index.users.id.forEach((id, number) => id.toLowerCase().includes(search.query) && search.hits.add(number));
  search.isRunning = index.has_texts;
  changed();
  if (!index.has_texts) return;
  const query = search.query;
  const peers = await peersWith(query, () => mine === search.number);
  let shown = performance.now();
  for (let first = 0; first < index.users.id.length; first += TOGETHER) {
    if (mine !== search.number) return;
    const numbers = Array.from({ length: Math.min(TOGETHER, index.users.id.length - first) }, (_, each) => first + each);
    const written = await Promise.all(numbers.map((number) => unpack(addressOfUser(number))));
    if (mine !== search.number) return;
    numbers.forEach((number, each) => {
      if (!search.hits.has(number) && isIn(written[each], query, peers)) search.hits.add(number);
    });
    if (performance.now() - shown > 300) {
      shown = performance.now();
      changed();
    }
  }
  search.isRunning = false;
  changed();
}

function isIn(written, query, peers) {
  const end = written.indexOf("\n");
  if (end >= 0 && written.slice(end + 1).toLowerCase().includes(query)) return true;
  if (peers.size === 0) return false;
  const structure = JSON.parse(end < 0 ? written : written.slice(0, end));
  return comparisonsOf(structure).some(
    (each) => peers.has(each.item_id) || each.representatives.some((one) => peers.has(`${each.item_id}\0${one.peer}`)),
  );
}

/** Which items, and which reviews by others (item and key), hold the query. */
async function peersWith(query, goesOn) {
  const found = new Set();
  const documents = new Map(index.items.at.map((at) => [at.join(), at]));
  const all = [...documents.values()];
  for (let first = 0; first < all.length && goesOn(); first += TOGETHER) {
    for (const written of await Promise.all(all.slice(first, first + TOGETHER).map(unpack))) {
      if (!written.toLowerCase().includes(query)) continue;
      const bundle = parse(written);
      const has = (...values) => values.some((value) => (textOf(bundle, value) ?? "").toLowerCase().includes(query));
      for (const item of bundle.items) {
        if (has(item.title, item.description)) found.add(item.item_id);
        for (const peer of item.peers) if (has(peer.title, peer.text)) found.add(`${item.item_id}\0${peer.key}`);
      }
    }
  }
  return found;
}

function comparisonsOf(structure) {
  return structure.runs.flatMap((run) => (run && run.comparisons !== undefined ? structure.pieces[run.comparisons] : []));
}
