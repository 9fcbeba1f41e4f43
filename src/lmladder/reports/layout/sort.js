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
