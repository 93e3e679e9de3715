// The index, and the documents in the data blocks behind the app.

const index = JSON.parse(document.getElementById("index").textContent);
const place = new Map(index.users.id.map((id, number) => [id, number]));
const itemPlace = new Map(index.items.id.map((id, number) => [id, number]));

/** Wait until the browser has read a block: blocks come after the app, and a large page takes a second. */
async function block(number) {
  for (;;) {
    const blocks = document.getElementsByClassName("data");
    if (blocks.length > number + 1 || (blocks.length > number && document.readyState !== "loading")) {
      return blocks[number].textContent;
    }
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

/** The text of a document: a line of JSON, then its texts. */
async function unpack([number, start, length]) {
  const encoded = (await block(number)).slice(start, start + length);
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function parse(written) {
  const end = written.indexOf("\n");
  const structure = JSON.parse(end < 0 ? written : written.slice(0, end));
  const texts = [];
  let start = end + 1;
  for (const length of structure.lengths) {
    texts.push(written.slice(start, start + length));
    start += length + 1;
  }
  return { ...structure, texts };
}

const addressOfUser = (number) => index.users.at[number];

async function readUser(number) {
  return parse(await unpack(addressOfUser(number)));
}

/** The items that a user was compared on, by id: each with its texts and its peers by key. */
async function readItems(ids) {
  const documents = new Map();
  for (const id of ids) {
    const number = itemPlace.get(id);
    if (number !== undefined) documents.set(index.items.at[number].join(), index.items.at[number]);
  }
  const found = new Map();
  for (const bundle of await Promise.all([...documents.values()].map(async (at) => parse(await unpack(at))))) {
    for (const item of bundle.items) {
      const peers = new Map(item.peers.map((peer) => [peer.key, peer]));
      found.set(item.item_id, { ...item, peers, texts: bundle.texts });
    }
  }
  return found;
}

/** A text by its number; a page without texts has null, or the kind of an error as it is. */
function textOf(holder, value) {
  return typeof value === "number" ? holder.texts[value] : value;
}
