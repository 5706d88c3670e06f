"use strict";
// A heading sorts its table by its column, and once more the other way round; a cell without a key stays last.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const rows = [...table.tBodies[0].rows];
      const key = (row) => row.cells[column].dataset.key;
      const present = rows.filter((row) => key(row) !== "");
      const missing = rows.filter((row) => key(row) === "");
      const numeric = present.every((row) => !Number.isNaN(Number(key(row))));
      const order = numeric
        ? (a, b) => Number(key(a)) - Number(key(b))
        : (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
      present.sort(down ? (a, b) => order(b, a) : order);
      table.tBodies[0].append(...present, ...missing);
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
// What the list of contents or an address names is opened, and so is everything that is printed.
const opened = (place) => place?.querySelectorAll(":scope > details").forEach((details) => { details.open = true; });
const named = () => opened(document.getElementById(location.hash.slice(1)));
addEventListener("hashchange", named);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
document.querySelector("nav").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (link) opened(document.getElementById(link.hash.slice(1)));
});
named();
