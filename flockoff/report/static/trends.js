"use strict";
// Charts over many epochs.

// A line through a single point is none.
const symbolOf = (values) => (values.length > 1 ? "none" : "circle");

function weightsPicture(colours) {
  const { weights, otherWeights } = report.data.trends;
  const others = otherWeights.some((value) => value > 0);
  const area = (name, data, color) => ({
    type: "line",
    name,
    data,
    color,
    stack: "weights",
    symbol: symbolOf(data),
    lineStyle: { width: 0 },
    areaStyle: { opacity: 0.85 },
    emphasis: { focus: "series" },
  });
  return frame(colours, {
    grid: { bottom: 36, right: 20 },
    legend: legend(colours),
    tooltip: epochTooltip((value) => percent(value, 1)),
    xAxis: epochAxis(colours),
    yAxis: axis(colours, { type: "value", name: "of all weight", max: 1, axisLabel: { formatter: (value) => `${Math.round(100 * value)} %` } }),
    series: [
      ...weights.map(([miner, values], i) => area(nameOf(miner), values, colours.series[i])),
      ...(others ? [area("all others", otherWeights, colours.line)] : []),
    ],
  });
}

function line(name, values, style, z) {
  return { type: "line", name, data: values, symbol: symbolOf(values), lineStyle: style, itemStyle: { color: style.color }, z, connectNulls: false };
}

function scoresPicture(colours) {
  const last = (values) => values.at(-1) ?? -1;
  const ranked = [...report.data.trends.scores].sort((one, other) => last(other[1]) - last(one[1]));
  const leaders = ranked.slice(0, 8);
  const grey = ranked.slice(8).map(([miner, values]) => ({
    ...line(nameOf(miner), values, { color: colours.faint, width: 1, opacity: 0.28 }, 1),
    silent: true,
  }));
  return frame(colours, {
    grid: { bottom: 36, right: 20 },
    legend: legend(colours, leaders.map(([miner]) => nameOf(miner))),
    tooltip: epochTooltip((value) => number(value), ({ seriesIndex }) => seriesIndex < leaders.length),
    xAxis: epochAxis(colours),
    yAxis: axis(colours, { type: "value", name: "score", axisLabel: { formatter: (value) => number(value, 2) } }),
    series: [
      ...leaders.map(([miner, values], i) => line(nameOf(miner), values, { color: colours.series[i], width: 2 }, 3)),
      ...grey,
    ],
  });
}

function progressPicture(colours) {
  const { trends, base } = report.data;
  const pick = (place) => trends.losses.map((spread) => (spread ? spread[place] : null));
  return frame(colours, {
    grid: { bottom: 36, right: 20 },
    legend: legend(colours, ["best", "median"]),
    tooltip: epochTooltip((value) => number(value, 5)),
    xAxis: epochAxis(colours),
    yAxis: axis(colours, {
      type: "value",
      name: "nats per token",
      min: ({ min }) => Math.min(min, base ?? min) - 0.005,
      max: ({ max }) => Math.max(max, base ?? max) + 0.01,
      axisLabel: { formatter: (value) => number(value, 2), showMinLabel: false, showMaxLabel: false },
    }),
    series: [
      { ...line("best", pick(0), { color: colours.accent, width: 2 }, 3), markLine: baseLine(colours, base) },
      line("median", pick(1), { color: colours.series[1], width: 1.5, type: [4, 3] }, 2),
    ],
  });
}

/** One miner's score, and nothing else. */
function lifePicture(colours, miner) {
  const found = report.data.trends.scores.find(([place]) => report.data.miners[place] === miner);
  return frame(colours, {
    grid: { top: 12 },
    tooltip: epochTooltip((value) => number(value)),
    xAxis: epochAxis(colours),
    yAxis: axis(colours, { type: "value", splitNumber: 3, axisLabel: { formatter: (value) => number(value, 2) } }),
    series: found ? [line("score", found[1], { color: colours.accent, width: 2 }, 1)] : [],
  });
}
