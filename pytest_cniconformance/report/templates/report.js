// SPDX-License-Identifier: Apache-2.0
// Comfort only: without this script everything is readable and every <details> opens.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const $ = (id) => document.getElementById(id);

  // Filter by text, outcome and suite.
  const checks = all("details.check").map((node) => ({ node, text: node.textContent.toLowerCase() }));
  const filter = () => {
    const words = $("f-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = $("f-outcome").value, suite = $("f-suite").value;
    let shown = 0;
    for (const { node, text } of checks) {
      const keep = (!outcome || node.dataset.outcome === outcome) && (!suite || node.dataset.suite === suite)
        && words.every((word) => text.includes(word));
      node.hidden = !keep;
      shown += keep;
    }
    for (const group of all("section.suite")) group.hidden = !group.querySelector("details.check:not([hidden])");
    $("f-count").textContent = shown === checks.length ? `${shown} checks` : `${shown} of ${checks.length} checks`;
  };
  for (const id of ["f-text", "f-outcome", "f-suite"]) $(id).addEventListener("input", filter);
  document.querySelector(".filter").hidden = false;
  filter();

  // Copy buttons; where the clipboard is closed (some browsers on file:), select the text instead.
  for (const box of all("div.code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = box.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    box.append(button);
  }

  // Matrices: one tab stop each, arrow keys move, the line below says what the cell means.
  const detail = (cell) => {
    const table = cell.closest("table"), row = cell.parentElement;
    const to = table.tHead.rows[0].cells[cell.cellIndex].textContent, from = row.cells[0].textContent;
    const found = cell.title || cell.dataset.title || cell.querySelector(".vh").textContent;
    cell.closest(".matrix").querySelector(".cell-detail").textContent =
      `${from} → ${to}:${table.dataset.port}: ${found}`;
  };
  for (const table of all("table.grid")) {
    const cells = all("td[class]", table);
    cells.forEach((cell, index) => { cell.tabIndex = index ? -1 : 0; });
    table.addEventListener("mouseover", (event) => {
      const cell = event.target.closest("td[class]");
      if (cell) detail(cell);
    });
    table.addEventListener("focusin", (event) => {
      const cell = event.target.closest("td[class]");
      if (!cell) return;
      for (const other of cells) other.tabIndex = other === cell ? 0 : -1;
      detail(cell);
    });
    table.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const cell = event.target.closest("td[class]");
      if (!step || !cell) return;
      event.preventDefault();
      let row = cell.parentElement.rowIndex, column = cell.cellIndex, next;
      do {
        row += step[0];
        column += step[1];
        next = table.rows[row]?.cells[column];
      } while (next && !next.className);
      if (next?.tagName === "TD") next.focus();
    });
  }

  // A link to a check opens it; paper shows what needs attention.
  const reveal = () => {
    const target = location.hash && $(decodeURIComponent(location.hash.slice(1)));
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => { for (const card of all("#attention details")) card.open = true; });
})();
