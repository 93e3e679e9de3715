// The index, and the documents in the data blocks behind the app.

const index = JSON.parse(document.getElementById("index").textContent);
const place = new Map(index.users.id.map((id, number) => [id, number]));
const itemPlace = new Map(index.items.id.map((id, number) => [id, number]));

/** A document as the file has it. Blocks come after the app, and a large page takes a second: wait for the document's. */
async function encodedAt([number, start, length]) {
  const blocks = document.getElementsByClassName("data");
  while (blocks.length <= number + 1 && document.readyState === "loading") await pause(15);
  const encoded = blocks[number]?.textContent.slice(start, start + length) ?? "";
  if (encoded.length < length) throw new Error("This file is cut off, and has not all texts. Copy or download it again.");
  return encoded;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The bytes that base64 stands for. Older browsers have no function for it; there a loop is the fastest. */
function bytesOf(encoded) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(encoded);
  const characters = atob(encoded);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < characters.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

/** The text of a document: a line of JSON, then its texts. Read piece by piece, which is faster than as a response. */
async function unpack(at) {
  const stream = new DecompressionStream("gzip");
  const writer = stream.writable.getWriter();
  const bytes = bytesOf(await encodedAt(at));
  for (const step of [writer.write(bytes), writer.close()]) step.catch(() => {}); // The reader fails in the same way.
  const [reader, decoder] = [stream.readable.getReader(), new TextDecoder()];
  let text = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    text += decoder.decode(piece.value, { stream: true });
  }
  return text + decoder.decode();
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

function comparisonsOf(structure) {
  return structure.runs.flatMap((run) => (run && run.comparisons !== undefined ? structure.pieces[run.comparisons] : []));
}

/** The items that a user was compared on, by id: each with its texts and its peers by key. */
async function readItems(ids) {
  const documents = new Map();
  for (const id of ids) {
    const number = itemPlace.get(id);
    if (number !== undefined) documents.set(index.items.at[number].join(), index.items.at[number]);
  }
  const found = new Map();
  for (const at of documents.values()) {
    const bundle = parse(await unpack(at));
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
