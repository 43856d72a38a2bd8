"use strict";
// Draws each chart when it scrolls into view, and again when colours, numbers or sizes change.

const PICTURES = {
  loss: lossPicture,
  wins: winsPicture,
  weights: weightsPicture,
  scores: scoresPicture,
  progress: progressPicture,
  noise: noisePicture,
  waits: waitsPicture,
  copies: copiesPicture,
  timeline: timelinePicture,
};
const drawn = new Map(); // place -> () => option

function draw(place, make) {
  place.replaceChildren();
  drawn.set(place, make);
  echarts.init(place).setOption(make());
}

function redraw() {
  for (const [place, make] of drawn) {
    const chart = echarts.getInstanceByDom(place);
    if (place.isConnected) chart?.setOption(make(), true);
    else {
      chart?.dispose();
      drawn.delete(place);
    }
  }
}

function drawPicture(place) {
  if (drawn.has(place)) return;
  draw(place, () => PICTURES[place.dataset.chart](readColours()));
  resizes.observe(place);
}

const resizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const chart = echarts.getInstanceByDom(target);
    const { clientWidth: width, clientHeight: height } = target;
    // The first notice comes for every picture, just after it was drawn. A hidden one has no size, which a graph
    // cannot be drawn in.
    if (chart && width && height && (chart.getWidth() !== width || chart.getHeight() !== height)) chart.resize();
  }
});
/** What is far from the window is drawn soon after, one picture at a time: a page can be captured whole. */
function drawTheRest() {
  const next = [...all("[data-chart]")].find((place) => !drawn.has(place));
  if (!next) return;
  drawPicture(next);
  setTimeout(drawTheRest, 50);
}

const nearby = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) drawPicture(target);
  },
  { rootMargin: "400px" },
);

function watchPictures() {
  for (const place of all("[data-chart]")) nearby.observe(place);
}

addEventListener("recolour", redraw);
addEventListener("renewed", () => {
  redraw();
  watchPictures();
  setTimeout(drawTheRest, 50);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  for (const place of all("[data-chart]")) drawPicture(place);
  redraw();
});
addEventListener("afterprint", redraw);
addEventListener("miner", ({ detail: { miner, place } }) => {
  draw(place, () => lifePicture(readColours(), miner));
});
watchPictures();
setTimeout(drawTheRest, 50);
followHash();
