"use strict";
// Shared by all charts: colours, axes, legends, and the base model's line.

// Okabe and Ito's colour-blind-safe colours, a little darker on white.
const SERIES = {
  light: ["#2864a8", "#c2570c", "#00806a", "#a8579a", "#8a6d00", "#3f9bd1", "#6b4fa0", "#9c3d3d", "#4d7d2e"],
  dark: ["#76b1ee", "#f0a063", "#45c9a8", "#dc9bd0", "#e0c65a", "#9ad4f5", "#b6a0e8", "#e89494", "#a5cf82"],
};
const NAMED_AXIS = 28; // px below a picture whose lower axis has a name
let probe;

/** A colour of the style sheet as the browser resolves it. */
function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** A mix of `part` of `one` and the rest of `other`. */
function mixed(one, other, part) {
  const channels = [one, other].map((text) => text.match(/[\d.]+/g).slice(0, 3).map(Number));
  return `rgb(${channels[0].map((value, i) => Math.round(value * part + channels[1][i] * (1 - part))).join(",")})`;
}

function readColours() {
  probe ??= document.body.appendChild(element("span", { hidden: "" }));
  const names = ["ground", "card", "raised", "ink", "soft", "faint", "line", "accent", "good", "bad", "warn"];
  const found = Object.fromEntries(names.map((name) => [name, colour(name)]));
  const dark = Number(found.ground.match(/\d+/)[0]) < 128;
  return { ...found, series: SERIES[dark ? "dark" : "light"] };
}

/** A miner by its place in the data. */
function nameOf(place) {
  const miner = report.data.miners[place];
  const name = miner.uid == null ? miner.short : `uid ${miner.uid}`;
  return miner.burn ? `burn (${name})` : name;
}

const wholeNumber = (value) => value.toLocaleString("en");

// --- shared by all charts ------------------------------------------------------------------------------

function frame(colours, more = {}) {
  const { grid, tooltip, ...rest } = more;
  return {
    animation: false,
    aria: { enabled: true },
    color: colours.series,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 12, color: colours.soft },
    grid: { left: 8, right: 16, top: 24, bottom: 8, containLabel: true, ...grid },
    tooltip: {
      renderMode: "richText", // no HTML injection
      confine: true,
      backgroundColor: colours.card,
      borderColor: colours.line,
      textStyle: { color: colours.ink, fontSize: 12, lineHeight: 18 },
      axisPointer: { lineStyle: { color: colours.faint }, shadowStyle: { color: colours.raised, opacity: 0.6 } },
      ...tooltip,
    },
    ...rest,
  };
}

function axis(colours, more = {}) {
  const { axisLabel, splitLine, ...rest } = more;
  return {
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
    axisLabel: { color: colours.faint, ...axisLabel },
    splitLine: { lineStyle: { color: colours.line, opacity: 0.7 }, ...splitLine },
    nameTextStyle: { color: colours.faint, align: "left" },
    ...rest,
  };
}

function baseLine(colours, base) {
  if (base == null) return undefined;
  return {
    silent: true,
    symbol: "none",
    lineStyle: { color: colours.soft, type: [5, 4], width: 1 },
    label: { formatter: `base model ${number(base)}`, position: "insideEndTop", color: colours.soft },
    data: [{ yAxis: base }],
  };
}

function epochAxis(colours) {
  return axis(colours, {
    type: "category",
    boundaryGap: false,
    data: report.data.trends.epochs.map(wholeNumber),
    splitLine: { show: false },
  });
}

const legend = (colours, data) => ({
  type: "scroll",
  bottom: 0,
  icon: "roundRect",
  itemWidth: 10,
  itemHeight: 10,
  textStyle: { color: colours.soft },
  pageTextStyle: { color: colours.soft },
  pageIconColor: colours.soft,
  pageIconInactiveColor: colours.line,
  data,
});

/** An axis with one place for each of these miners. */
function minerAxis(colours, places) {
  return axis(colours, {
    type: "category",
    data: places.map((place) => nameOf(place).replace("uid ", "")),
    splitLine: { show: false },
    name: "uid",
    nameLocation: "middle",
    nameTextStyle: { color: colours.faint, align: "center" },
    nameGap: 26,
  });
}

/** When an epoch of the charts began, in words. */
const begunWords = (place) => `${new Date(1000 * report.data.trends.begunAt[place]).toISOString().slice(0, 16).replace("T", " ")} UTC`;

/** A tooltip of a chart over epochs: the series that `show` lets through, one a line. */
function epochTooltip(tell, show = () => true) {
  return {
    trigger: "axis",
    formatter: (parts) => {
      const told = parts.filter((part) => part.value != null && show(part));
      return [`epoch ${parts[0].axisValue}, ${begunWords(parts[0].dataIndex)}`, ...told.map((part) => `${part.seriesName}  ${tell(part.value)}`)].join("\n");
    },
  };
}
