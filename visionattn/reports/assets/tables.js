// Tables: a click on a heading sorts, the largest or the first of the alphabet on top; a text filters.
for (const table of $$("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    const numeric = heading.classList.contains("number");
    const button = element("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const order = now ? (now === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => numeric ? row.cells[place].dataset.value : row.cells[place].textContent.trim();
      const sorted = rows.map((row, index) => [key(row), index, row]).sort((a, b) => {
        if (numeric && (a[0] === "") !== (b[0] === "")) return a[0] === "" ? 1 : -1;
        const compared = numeric ? a[0] - b[0] : a[0].localeCompare(b[0], "en", { numeric: true });
        return sign * compared || a[1] - b[1];
      });
      body.append(...sorted.map(([, , row]) => row));
    });
  });
  const filter = $(".filter", table.closest(".section, .panel"));
  if (!filter) continue;
  filter.hidden = false;
  $("input", filter).addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let found = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      found += !row.hidden;
    }
    $(".found", filter).textContent = wanted ? `${found} of ${rows.length}` : "";
  });
}
