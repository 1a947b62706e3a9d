"use strict";
// Titles of sortable tables become buttons. Without this script the tables stay as they are: best first.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });

  function sort(column) {
    const head = heads[column];
    const numeric = head.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [row.cells[column].dataset.value ?? "", row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // what has no number comes last, either way
      return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
    });
    body.append(...rows.map(([, row]) => row));
  }

  if (table.parentElement.classList.contains("tall")) {
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = `Find in ${body.rows.length} rows`;
    field.setAttribute("aria-label", field.placeholder);
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLocaleLowerCase();
      for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLocaleLowerCase().includes(wanted);
    });
    table.parentElement.before(field);
  }
}

// A table that goes on to the right fades there.
const areas = [...document.querySelectorAll(".scroll")];
const fade = (area) => area.classList.toggle("more", area.scrollLeft + area.clientWidth < area.scrollWidth - 1);
areas.forEach((area) => area.addEventListener("scroll", () => fade(area)));
const fadeAll = () => areas.forEach(fade);
addEventListener("resize", fadeAll);
fadeAll();
