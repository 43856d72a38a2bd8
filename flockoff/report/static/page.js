"use strict";
// The report's behaviour besides charts and leaderboard: its age, a miner's history, news.

function tellTimes() {
  const now = Date.now() / 1000;
  for (const time of all("time[data-ago]")) {
    time.title ||= time.textContent;
    time.textContent = ago(now - Number(time.dataset.ago));
  }
  const { silentAfter, madeAt } = report.data;
  if (!silentAfter || now < silentAfter) return;
  find(".health").classList.replace("well", "starting");
  find(".stale").hidden = false;
  find(".stale").textContent = `That was ${ago(now - madeAt)}, when this page was made.`;
}

// --- one miner -------------------------------------------------------------------------------------------

const number = (value, digits = 4) => (value == null ? "–" : value.toFixed(digits).replace("-", "−"));
const percent = (value, digits = 2) => (value == null ? "–" : `${number(100 * value, digits)} %`);
const verdictOf = (standing, reason) => (reason ?? standing).replaceAll("_", " ");

function fact(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

function turnRow([epoch, standing, reason, detail, loss, winRate, share, score, weight]) {
  const why = element("td", { class: "why" }, element("span", { class: `chip ${standing}` }, verdictOf(standing, reason)));
  if (report.data.details[detail]) why.append(" ", element("span", { class: "detail" }, report.data.details[detail]));
  const cells = [epoch.toLocaleString("en"), number(loss), percent(winRate, 0)];
  const rest = [percent(share), number(score), percent(weight)];
  const numeric = (text) => element("td", { class: "n" }, text);
  return element("tr", {}, ...cells.map(numeric), why, ...rest.map(numeric));
}

function turnTable(turns) {
  const names = ["epoch", "loss", "wins", "verdict", "share", "score", "weight"];
  const header = names.map((name) => element("th", { scope: "col", class: name === "verdict" ? "" : "n" }, name));
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...header)),
    element("tbody", {}, ...turns.map(turnRow)),
  );
}

function copyButton(text) {
  const button = element("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return button;
}

function openMiner(miner) {
  const dialog = find("dialog");
  const close = element("button", { type: "button", class: "close", autofocus: "" }, "Close");
  close.addEventListener("click", () => dialog.close());
  const title = miner.uid == null ? miner.short : `uid ${miner.uid}`;
  const address = element("code", { class: "address" }, miner.hotkey);
  const heading = element("div", {}, element("h2", { id: "who" }, title), address);
  const buttons = element("div", {}, ...(isSecureContext ? [copyButton(miner.hotkey), " "] : []), close);
  const change = miner.loss == null || report.data.base == null ? null : miner.loss / report.data.base - 1;
  dialog.replaceChildren(
    element("div", { class: "head" }, heading, buttons),
    element(
      "dl",
      { class: "facts" },
      fact("loss", number(miner.loss)),
      fact("vs base", percent(change)),
      fact("win rate", percent(miner.winRate, 0)),
      fact("share", percent(miner.share)),
      fact("score", number(miner.score)),
      fact("weight", percent(miner.weight)),
    ),
  );
  const verdict = document.getElementById(`miner-${miner.hotkey}`)?.querySelector(".clamp");
  if (verdict) find(".facts", dialog).before(verdict.cloneNode(true));
  if (miner.path) {
    const link = element("a", { href: `https://huggingface.co/datasets/${miner.path}`, rel: "noopener noreferrer" }, miner.modelId);
    dialog.append(element("h3", {}, "Dataset"), element("p", { class: "small" }, link));
  } else if (miner.modelId) {
    dialog.append(element("h3", {}, "Committed"), element("p", { class: "small" }, miner.modelId));
  }
  dialog.append(element("h3", {}, "Score"), element("div", { class: "life" }));
  const turns = miner.turns ?? [];
  dialog.append(element("h3", {}, turns.length ? `The last ${turns.length} turns` : "No turn yet"));
  if (turns.length) dialog.append(turnTable(turns));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  dispatchEvent(new CustomEvent("miner", { detail: { miner, place: find(".life", dialog) } }));
}

/** Name a miner in the address, which a link may lead to, without a jump to its row. */
function showMiner(name) {
  history.pushState(null, "", `#${name}`);
  followHash();
}

function followHash() {
  const hotkey = decodeURIComponent(location.hash).replace(/^#miner-/, "");
  const miner = location.hash.startsWith("#miner-") && report.data.miners.find((each) => each.hotkey === hotkey);
  if (miner) openMiner(miner);
}

find("dialog").addEventListener("close", () => {
  history.replaceState(null, "", location.pathname + location.search);
});
find("dialog").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.miner");
  if (!link) return;
  event.preventDefault();
  showMiner(link.getAttribute("href").slice(1));
});
addEventListener("hashchange", followHash);
addEventListener("chosen", (event) => showMiner(event.detail));

// --- news, if the page is served -------------------------------------------------------------------------

const POLL_MILLISECONDS = 3000;

function showVerdicts(news) {
  for (const place of all("[data-place]")) {
    const verdict = news.verdicts[place.dataset.place];
    if (!verdict) continue;
    place.className = verdict.standing;
    place.title = `${place.dataset.place}: ${verdict.words}`;
  }
  if (find("[data-live=judged]")) find("[data-live=judged]").textContent = Object.keys(news.verdicts).length;
}

/** Put what the server says now in place of what the page says; the leaderboard stays as it is looked at. */
async function renew() {
  const answer = await fetch("/", { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  report.data = JSON.parse(find("#data", fresh).textContent);
  report.version = find("[data-version]", fresh).dataset.version;
  for (const name of ["main", "footer"]) find(name).replaceWith(document.adoptNode(find(name, fresh)));
  tellTimes();
  listenToBoard();
  dispatchEvent(new Event("renewed"));
}

async function poll() {
  try {
    const answer = await fetch("/live.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const news = await answer.json();
    if (news.version !== report.version) await renew();
    showVerdicts(news);
    find("[data-live=state]").textContent = "Live.";
  } catch {
    find("[data-live=state]").textContent = "The validator does not answer: this is its last known state.";
  }
  setTimeout(poll, POLL_MILLISECONDS);
}

// --- start -----------------------------------------------------------------------------------------------

setTheme(storedTheme());
tellTimes();
setInterval(tellTimes, 20_000);
listenToBoard();
if (find("[data-version]")) {
  report.version = find("[data-version]").dataset.version;
  poll();
}
