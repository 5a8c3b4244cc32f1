"use strict";
{
  const table = document.getElementById("tensors");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const texts = rows.map((row) => row.textContent.toLowerCase());

  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, at) => {
      const fits = words.every((word) => texts[at].includes(word));
      row.hidden = !fits;
      if (fits) count += 1;
    });
    shown.textContent = `${count} of ${rows.length}`;
  };
  filter.addEventListener("input", show);

  // A shape counts as its product.
  const number = (text) => text.split("×").reduce((product, part) => product * Number(part), 1);
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const isNumber = heading.dataset.sort === "n";
      // Large figures are what one looks for, and the first names.
      const before = heading.getAttribute("aria-sort") ?? (isNumber ? "ascending" : "descending");
      const after = before === "ascending" ? "descending" : "ascending";
      const sign = after === "ascending" ? 1 : -1;
      const keys = new Map(rows.map((row) => {
        const text = row.cells[column].textContent;
        return [row, isNumber ? number(text) : text];
      }));
      const compare = isNumber
        ? (a, b) => a - b
        : new Intl.Collator("en", { numeric: true }).compare;
      const order = rows.slice().sort((a, b) => sign * compare(keys.get(a), keys.get(b)));
      body.append(...order);
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", after);
    });
  });
  show();
}
