"use strict";
// Clicks on a column's title sort its table ascending, then descending, then restore the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    const text = (row) => row.cells[column].textContent.trim();
    const number = (row) => parseFloat(text(row).replace(/[<,]/g, "").replace("inf", "Infinity"));
    const filled = rows.filter((row) => text(row) !== "");
    const empty = rows.filter((row) => text(row) === "");
    const numeric = filled.every((row) => !Number.isNaN(number(row)));
    const order = numeric
      ? (a, b) => number(a) - number(b)
      : (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const now = title.getAttribute("aria-sort");
      const next = { ascending: "descending", descending: null }[now];
      titles.forEach((each) => each.removeAttribute("aria-sort"));
      if (next === null) return body.append(...rows);
      title.setAttribute("aria-sort", next ?? "ascending");
      const sorted = [...filled].sort(next ? (a, b) => order(b, a) : order);
      body.append(...sorted, ...empty);
    });
  });
}

// A token of the passage shows its probability under each model beside it; the chosen model colors all.
const passage = document.querySelector(".passage");
if (passage) {
  const card = document.querySelector(".card");
  const rows = [...card.querySelectorAll("tr")];
  const models = [...document.querySelectorAll("[name=model]")];
  const strongest = document.querySelectorAll(".scale [class^=k]").length - 1;
  const nats = (piece) => piece.dataset.nats.split(" ").map(Number);
  const show = (piece) => {
    card.querySelector("b").textContent = `“${piece.textContent.trim() || "␣"}”`;
    nats(piece).forEach((each, index) => {
      const p = Math.exp(-each);
      const [, bar, percent] = rows[index].cells;
      bar.firstChild.style.width = `${100 * p}%`;
      percent.textContent = p >= 0.0001 ? `${(100 * p).toFixed(2)}%` : "<0.01%";
    });
    card.hidden = false;
    const box = piece.getBoundingClientRect();
    const below = box.bottom + 8 + card.offsetHeight < innerHeight;
    const top = below ? box.bottom + 8 : box.top - 8 - card.offsetHeight;
    const left = Math.min(box.left, document.documentElement.clientWidth - card.offsetWidth - 8);
    card.style.top = `${scrollY + Math.max(8, top)}px`;
    card.style.left = `${scrollX + Math.max(8, left)}px`;
  };
  const showOf = (event) => {
    const piece = event.target.closest(".piece");
    if (piece) show(piece);
  };
  const hide = () => {
    card.hidden = true;
  };
  passage.addEventListener("pointerover", showOf);
  passage.addEventListener("focusin", showOf);
  passage.addEventListener("pointerleave", hide);
  passage.addEventListener("focusout", hide);
  models.forEach((model, index) => {
    model.addEventListener("change", () => {
      for (const piece of passage.querySelectorAll(".piece")) {
        const bits = Math.max(0, nats(piece)[index]) / Math.LN2;
        piece.className = `piece k${Math.min(strongest, Math.floor(bits))}`;
      }
    });
  });
}
