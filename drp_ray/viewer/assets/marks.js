// Words that two texts share, words that retrieval looked for, and words that were searched: marked without touching
// the texts (CSS highlights). Browsers without them show the texts unmarked.

const WORD = /[\p{L}\p{N}]+/gu;
const canMark = typeof Highlight === "function" && "highlights" in CSS;
const MARKED_CHARACTERS = 200000;
let marksAreOn = true;

function words(text) {
  return Array.from(text.slice(0, MARKED_CHARACTERS).matchAll(WORD), (match) => ({
    word: match[0].toLowerCase(),
    start: match.index,
    end: match.index + match[0].length,
  }));
}

function rangeOf(node, start, end) {
  const range = new Range();
  range.setStart(node, Math.min(start, node.length));
  range.setEnd(node, Math.min(end, node.length));
  return range;
}

/** Ranges of the words of a text that another has too, those apart that follow each other there as well. */
function shared(node, other) {
  const theirs = words(other);
  const single = new Set(theirs.map((each) => each.word));
  const pairs = new Set(theirs.slice(1).map((each, number) => `${theirs[number].word} ${each.word}`));
  const own = words(node.data);
  const goesOn = own.map((each, at) => at + 1 < own.length && pairs.has(`${each.word} ${own[at + 1].word}`));
  const found = { shared: [], phrase: [] };
  for (let at = 0; at < own.length; at++) {
    const first = at;
    while (goesOn[at]) at++;
    if (at > first) found.phrase.push(rangeOf(node, own[first].start, own[at].end));
    else if (single.has(own[at].word)) found.shared.push(rangeOf(node, own[at].start, own[at].end));
  }
  return found;
}

/** Ranges of the tokens of a document that a query has: white space separates them, as BM25 sees them. */
function asked(node, query) {
  const fold = (token) => (index.lowercase ? token.toLowerCase() : token);
  const wanted = new Set(query.split(/\s+/u).map(fold));
  return Array.from(node.data.matchAll(/\S+/gu))
    .filter((match) => wanted.has(fold(match[0])))
    .map((match) => rangeOf(node, match.index, match.index + match[0].length));
}

/** Ranges of a searched text in all texts below an element. */
function searched(root, query) {
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (query && walker.nextNode() && ranges.length < 2000) {
    const lower = walker.currentNode.data.toLowerCase();
    for (let at = lower.indexOf(query); at >= 0 && ranges.length < 2000; at = lower.indexOf(query, at + query.length)) {
      ranges.push(rangeOf(walker.currentNode, at, at + query.length));
    }
  }
  return ranges;
}

/** Mark the opened user anew. What is compared with what stands in `comparable` and `retrieved` of each element. */
const compared = new Map();
const retrievedBy = new Map();

function markAll() {
  if (!canMark) return;
  const found = { shared: [], phrase: [], asked: [], searched: searched(userArea, search.query) };
  if (marksAreOn) {
    for (const [paragraph, other] of compared) {
      if (!paragraph.firstChild) continue;
      const ranges = shared(paragraph.firstChild, other);
      found.shared.push(...ranges.shared);
      found.phrase.push(...ranges.phrase);
    }
    for (const [element, query] of retrievedBy) if (element.firstChild) found.asked.push(...asked(element.firstChild, query));
  }
  for (const [name, ranges] of Object.entries(found)) {
    const highlight = new Highlight();
    for (const range of ranges) highlight.add(range);
    CSS.highlights.set(name, highlight);
  }
}
