"use strict";
// A table of miners (#leaderboard) to filter, search and sort.

const FIRST_ROWS = 32;
const board = { show: "", text: "", whole: false };

function drawBoard() {
  const words = board.text.toLowerCase().split(/\s+/).filter(Boolean);
  const narrowed = board.show || words.length;
  let shown = 0;
  let cut = 0;
  for (const row of all("#leaderboard tbody tr")) {
    const told = `${row.id} ${row.textContent}`.toLowerCase().replaceAll("_", " ");
    const fits = (!board.show || row.dataset.standing === board.show) && words.every((word) => told.includes(word));
    const beyond = fits && !narrowed && !board.whole && shown >= FIRST_ROWS;
    row.hidden = !fits || beyond;
    row.classList.toggle("cut", beyond);
    if (beyond) cut += 1;
    else if (fits) shown += 1;
  }
  for (const button of all("[data-show]")) button.setAttribute("aria-pressed", button.dataset.show === board.show);
  if (find("#leaderboard .none")) find("#leaderboard .none").hidden = shown > 0;
  if (find("#leaderboard .more")) {
    find("#leaderboard .more").hidden = cut === 0;
    find("#leaderboard .more button").textContent = `Show all ${shown + cut} miners`;
  }
}

function sortBoard(header) {
  const place = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of all("#leaderboard th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const numbers = header.dataset.sort === "number";
  const key = (row) => {
    const value = row.cells[place].dataset.v;
    return numbers && value !== "" ? Number(value) : value;
  };
  const rows = all("#leaderboard tbody tr").map((row) => [key(row), row]);
  rows.sort(([one], [other]) => {
    if (one === "" || other === "") return (one === "") - (other === ""); // missing values come last
    const order = numbers ? one - other : one.localeCompare(other);
    return down ? -order : order;
  });
  find("#leaderboard tbody").append(...rows.map(([, row]) => row));
  drawBoard();
}

function listenToBoard() {
  for (const button of all("[data-show]")) {
    button.addEventListener("click", () => {
      board.show = button.dataset.show;
      drawBoard();
    });
  }
  for (const button of all("[data-find]")) {
    button.addEventListener("click", () => {
      find("[name=find]").value = board.text = button.dataset.find;
      board.show = "";
      drawBoard();
      find("#leaderboard").scrollIntoView();
    });
  }
  find("[name=find]").value = board.text;
  find("[name=find]").addEventListener("input", (event) => {
    board.text = event.target.value;
    board.show = "";
    drawBoard();
  });
  find("[name=find]").addEventListener("keydown", (event) => {
    if (event.key === "Enter") find("#leaderboard").scrollIntoView();
  });
  for (const header of all("#leaderboard th")) {
    header.tabIndex = 0;
    header.addEventListener("click", () => sortBoard(header));
    header.addEventListener("keydown", (event) => event.key === "Enter" && sortBoard(header));
  }
  find("#leaderboard tbody")?.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!event.target.closest("a") && !String(getSelection())) dispatchEvent(new CustomEvent("chosen", { detail: row.id }));
  });
  find("#leaderboard .more button")?.addEventListener("click", () => {
    board.whole = true;
    drawBoard();
  });
  drawBoard();
}
