"use strict";
// Sorting, searching and choosing; without this script everything is shown, in the given order.
document.documentElement.classList.add("js");

function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  return typeof b === "number" ? 1 : a.localeCompare(b, undefined, { numeric: true });
}

function isMissing(value) {
  return value === "–" || value === "";
}

function sortBy(heading) {
  const table = heading.closest("table"), body = table.tBodies[0];
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = Array.from(body.rows, (row) => [key(row, heading.cellIndex), row]);
  rows.sort(([a], [b]) =>  // what is undefined stays last, whichever the direction
    isMissing(a) || isMissing(b) ? isMissing(a) - isMissing(b) : down ? compare(b, a) : compare(a, b));
  body.append(...rows.map(([, row]) => row));
}

function search(input) {
  const rows = Array.from(document.getElementById(input.dataset.search).tBodies[0].rows);
  const words = input.value.toLocaleLowerCase().trim();
  for (const row of rows) row.hidden = !row.cells[0].textContent.toLocaleLowerCase().includes(words);
  const found = rows.filter((row) => !row.hidden).length;
  document.getElementById(input.getAttribute("aria-describedby")).textContent = `${found} of ${rows.length} shown`;
}

function choose(select) {
  for (const panel of document.querySelectorAll("[data-panel]"))
    if (panel.dataset.panel === select.dataset.choose) panel.hidden = panel.dataset.of !== select.value;
}

for (const button of document.querySelectorAll("button.sort"))
  button.addEventListener("click", () => sortBy(button.closest("th")));
for (const input of document.querySelectorAll("input[data-search]"))
  input.addEventListener("input", () => search(input));
for (const select of document.querySelectorAll("select[data-choose]")) {
  select.addEventListener("change", () => choose(select));
  choose(select);
}
// A number in a table says what it is, as the heading of its column does.
document.addEventListener("mouseover", ({ target }) => {
  const cell = target.closest("td");
  const headings = cell && cell.closest("table").tHead?.rows[0].cells;
  const spanned = headings && headings.length - cell.parentElement.cells.length;  // by a row heading
  const heading = headings?.[cell.cellIndex + spanned];
  const said = heading?.querySelector("[title]")?.title;
  if (said && !cell.title) cell.title = said;
});
