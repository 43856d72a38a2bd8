"use strict";
// A subnet page's behaviour besides its leaderboard: it shows its age.

function tellTimes() {
  const now = Date.now() / 1000;
  for (const time of all("time[data-ago]")) {
    time.title ||= time.textContent;
    time.textContent = ago(now - Number(time.dataset.ago));
  }
}

setTheme(storedTheme());
tellTimes();
setInterval(tellTimes, 20_000);
listenToBoard();
