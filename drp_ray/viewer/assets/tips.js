// What a mark in a plot stands for, beside the pointer or the focus.

const tip = make("div", { id: "tip", role: "tooltip", hidden: true });
document.body.append(tip);

function showTip(mark) {
  tip.textContent = mark.getAttribute("data-tip");
  tip.hidden = false;
  const [box, own] = [mark.getBoundingClientRect(), tip.getBoundingClientRect()];
  const left = Math.min(Math.max(box.left + box.width / 2 - own.width / 2, 8), innerWidth - own.width - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${box.top - own.height - 8 < 0 ? box.bottom + 8 : box.top - own.height - 8}px`;
}

for (const [begins, ends] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
  document.addEventListener(begins, (event) => {
    const mark = event.target.closest?.("[data-tip]");
    if (mark) showTip(mark);
  });
  document.addEventListener(ends, () => (tip.hidden = true));
}
