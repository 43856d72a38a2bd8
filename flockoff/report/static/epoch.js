"use strict";
// Charts of one epoch: losses, comparisons, copies and timing; the queue and seed noise.

function lossPicture(colours) {
  const { wins, base } = report.data;
  const ranked = wins.miners.map((miner, i) => [miner, wins.losses[i]]).sort((one, other) => one[1] - other[1]);
  const worst = Math.max(base ?? 0, ...ranked.map(([, loss]) => loss));
  const foot = base ?? worst;
  return frame(colours, {
    grid: { bottom: NAMED_AXIS },
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "shadow", shadowStyle: { color: colours.raised, opacity: 0.6 } },
      formatter: ([{ dataIndex }]) => {
        const [miner, loss] = ranked[dataIndex];
        const change = base == null ? "" : `\n${percent(loss / base - 1)} of the base model's`;
        return `${nameOf(miner)}  ${report.data.miners[miner].short}\nloss ${number(loss, 6)}${change}`;
      },
    },
    xAxis: minerAxis(colours, ranked.map(([miner]) => miner)),
    yAxis: axis(colours, {
      type: "value",
      name: "nats per token",
      min: ({ min }) => Math.min(min, foot) - 0.1 * Math.abs(worst - min || 0.01),
      max: ({ max }) => Math.max(max, foot) + 0.1 * Math.abs(worst - ranked[0][1] || 0.01),
      axisLabel: { formatter: (value) => number(value, 2), showMinLabel: false, showMaxLabel: false },
    }),
    series: [
      {
        type: "custom",
        silent: true,
        data: ranked.map(([, loss], i) => [i, loss]),
        renderItem: (_, api) => {
          const [x, y] = api.coord([api.value(0), api.value(1)]);
          const [, from] = api.coord([api.value(0), foot]);
          const style = { stroke: api.value(1) < foot ? colours.accent : colours.bad, lineWidth: 2, opacity: 0.35 };
          return { type: "line", shape: { x1: x, y1: from, x2: x, y2: y }, style };
        },
      },
      {
        type: "scatter",
        data: ranked.map(([, loss]) => ({
          value: loss,
          symbol: loss < foot ? "circle" : "triangle", // do not rely on colour alone
          itemStyle: { color: loss < foot ? colours.accent : colours.bad },
        })),
        symbolSize: 9,
        markLine: baseLine(colours, base),
      },
    ],
  });
}

const OUTCOMES = { won: "row wins", lost: "column wins", even: "nobody wins" };
const CLEAR_MARGIN = 0.05; // of the loss: a win by that much has the full colour

function comparisons() {
  const { rows, margins } = report.data.wins;
  const found = { won: [], lost: [], even: [] };
  rows.forEach((row, i) =>
    [...row].forEach((won, j) => {
      if (i !== j) found[won === "1" ? "won" : rows[j][i] === "1" ? "lost" : "even"].push([j, i, margins[i][j]]);
    }),
  );
  return found;
}

function winsPicture(colours) {
  const { miners, losses, earlier } = report.data.wins;
  const words = { won: "beats", lost: "is beaten by", even: "neither beats nor is beaten by" };
  const fills = {
    won: (part) => mixed(colours.accent, colours.card, 0.35 + 0.65 * part),
    lost: (part) => mixed(colours.bad, colours.card, 0.1 + 0.3 * part),
    even: () => colours.line,
  };
  const told = (one, other) =>
    `${nameOf(miners[one])}: loss ${number(losses[one], 6)}${earlier[one][other] === "1" ? ", was first" : ""}`;
  const side = {
    type: "category",
    data: miners.map((place) => nameOf(place).replace("uid ", "")),
    splitLine: { show: false },
    axisLine: { show: false },
    axisLabel: { fontSize: miners.length > 24 ? 10 : 12 },
  };
  const square = (state) => (_, api) => {
    const [x, y] = api.coord([api.value(0), api.value(1)]);
    const [width, height] = api.size([1, 1]).map((size) => size - (size > 8 ? 1 : 0.5));
    const fill = fills[state](Math.min(1, Math.abs(api.value(2)) / CLEAR_MARGIN));
    return { type: "rect", shape: { x: x - width / 2, y: y - height / 2, width, height }, style: { fill } };
  };
  return frame(colours, {
    grid: { left: 6, right: 0, top: 18, bottom: 32 },
    tooltip: {
      formatter: ({ seriesId, value: [j, i, lead] }) =>
        [
          `${nameOf(miners[i])} ${words[seriesId]} ${nameOf(miners[j])}`,
          told(i, j),
          told(j, i),
          seriesId === "even" ? "" : `by ${percent(Math.abs(lead))}`,
        ].join("\n"),
    },
    legend: legend(colours, Object.values(OUTCOMES)),
    xAxis: axis(colours, { ...side, position: "top" }),
    yAxis: axis(colours, { ...side, inverse: true }),
    series: Object.entries(comparisons()).map(([state, data]) => ({
      type: "custom",
      id: state,
      name: OUTCOMES[state],
      data,
      itemStyle: { color: fills[state](1) },
      renderItem: square(state),
    })),
  });
}

function noisePicture(colours) {
  const { noise, epsilon } = report.data;
  const points = noise.flatMap(([, losses], i) => {
    const mean = losses.reduce((sum, [, loss]) => sum + loss, 0) / losses.length;
    return losses.map(([epoch, loss]) => [i, loss / mean - 1, epoch, loss]);
  });
  const reach = Math.max(1.3 * epsilon, 1.15 * Math.max(...points.map(([, part]) => Math.abs(part))));
  return frame(colours, {
    grid: { bottom: NAMED_AXIS },
    tooltip: {
      formatter: ({ value: [i, part, epoch, loss] }) =>
        `${nameOf(noise[i][0])} in epoch ${wholeNumber(epoch)}\nloss ${number(loss, 6)}, ${part < 0 ? "" : "+"}${percent(part, 3)}`,
    },
    xAxis: minerAxis(colours, noise.map(([miner]) => miner)),
    yAxis: axis(colours, {
      type: "value",
      name: "off the mean",
      min: -reach,
      max: reach,
      axisLabel: { formatter: (value) => percent(value, 1), showMinLabel: false, showMaxLabel: false },
    }),
    series: [
      {
        type: "scatter",
        data: points,
        symbolSize: 6,
        itemStyle: { color: colours.accent, opacity: 0.75 },
        markArea: {
          silent: true,
          itemStyle: { color: colours.raised, opacity: 0.8 },
          data: [[{ yAxis: -epsilon }, { yAxis: epsilon }]],
        },
      },
    ],
  });
}

function waitsPicture(colours) {
  const { waits } = report.data;
  const most = Math.max(0, ...waits.map(([, epochs]) => epochs ?? 0));
  const counts = new Array(most + 1).fill(0);
  for (const [, epochs] of waits) if (epochs != null) counts[epochs] += 1;
  const never = waits.filter(([, epochs]) => epochs == null).length;
  const labels = counts.map((_, epochs) => String(epochs));
  return frame(colours, {
    grid: { bottom: NAMED_AXIS },
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "shadow", shadowStyle: { color: colours.raised, opacity: 0.6 } },
      formatter: ([{ axisValue, value }]) => `${value} miners\n${axisValue === "never" ? "never evaluated" : `${axisValue} epochs ago`}`,
    },
    xAxis: axis(colours, {
      type: "category",
      data: never ? [...labels, "never"] : labels,
      splitLine: { show: false },
      name: "epochs ago",
      nameLocation: "middle",
      nameGap: 26,
    }),
    yAxis: axis(colours, { type: "value", name: "miners", minInterval: 1 }),
    series: [{ type: "bar", data: never ? [...counts, never] : counts, barMaxWidth: 28, itemStyle: { color: colours.accent, borderRadius: [3, 3, 0, 0] } }],
  });
}

function copiesPicture(colours) {
  const { copies, miners } = report.data;
  const copiers = new Set(copies.map(([copier]) => copier));
  const owners = new Set(copies.map(([, owner]) => owner));
  const copied = (place) => copies.filter(([, owner]) => owner === place).length;
  const nodes = [...new Set(copies.flatMap(([copier, owner]) => [copier, owner]))].map((place) => ({
    id: String(place),
    name: nameOf(place),
    symbol: owners.has(place) ? "circle" : "triangle",
    symbolSize: owners.has(place) ? 14 + 5 * Math.sqrt(copied(place)) : 10,
    itemStyle: { color: owners.has(place) ? colours.accent : colours.bad },
    label: { show: owners.has(place) || copiers.size <= 24 },
  }));
  return frame(colours, {
    tooltip: {
      formatter: ({ dataType, data }) => {
        if (dataType === "edge") return `${nameOf(Number(data.source))} copies ${nameOf(Number(data.target))}\n${data.reason}`;
        const times = copied(Number(data.id));
        return `${data.name}  ${miners[Number(data.id)].short}${times ? `\ncopied by ${times}` : ""}`;
      },
    },
    series: [
      {
        type: "graph",
        layout: "force",
        zoom: innerWidth < 720 ? 0.65 : 0.9, // with room for the names at the edges
        force: { layoutAnimation: false, repulsion: Math.max(40, 4000 / nodes.length), edgeLength: [30, 90], gravity: 0.15 },
        roam: "move",
        nodes,
        links: copies.map(([copier, owner, reason]) => ({
          source: String(copier),
          target: String(owner),
          reason: reason.replaceAll("_", " "),
          lineStyle: { type: reason === "duplicate" ? "solid" : "dashed" },
        })),
        label: { position: "right", color: colours.ink, formatter: "{b}" },
        labelLayout: { hideOverlap: true },
        edgeSymbol: ["none", "arrow"],
        edgeSymbolSize: 7,
        lineStyle: { color: colours.faint, opacity: 0.8, curveness: 0.08 },
        emphasis: { focus: "adjacency" },
      },
    ],
  });
}

/** A bar of the timeline, with the miner's uid where there is room. */
function timelineBar(colours) {
  return (_, api) => {
    const [x, y] = api.coord([api.value(2), api.value(0)]);
    const [stop] = api.coord([api.value(3), api.value(0)]);
    const height = Math.min(34, 0.6 * api.size([0, 1])[1]);
    const text = nameOf(api.value(4)).replace("uid ", "");
    return {
      type: "rect",
      shape: { x, y: y - height / 2, width: Math.max(1, stop - x - 1), height, r: 2 },
      style: { fill: colours.accent, opacity: 0.85 },
      textContent: stop - x > 9 * text.length ? { style: { text, fill: colours.card, fontSize: 11 } } : undefined,
      textConfig: { position: "inside" },
    };
  };
}

/** A moment of the epoch as a line through the lanes; the names one above the other, for they are close. */
function timelineMark(colours, names) {
  return ({ coordSys, dataIndex }, api) => {
    const [x] = api.coord([api.value(0), 0]);
    const top = coordSys.y - 18 - 15 * dataIndex;
    const style = { stroke: colours.soft, lineDash: [5, 4] };
    const text = { text: names[dataIndex], x: x + 4, y: top, fill: colours.soft, align: "right" };
    const line = { type: "line", shape: { x1: x, x2: x, y1: top + 14, y2: coordSys.y + coordSys.height }, style };
    return { type: "group", children: [line, { type: "text", style: text }] };
  };
}

function timelinePicture(colours) {
  const { begunAt, closedAt, weightsSetAt, bars } = report.data.timeline;
  const minutes = (moment) => (moment - begunAt) / 60;
  const lanes = Math.max(...bars.map(([, lane]) => lane)) + 1;
  const end = Math.max(...bars.map(([, , , stop]) => stop), closedAt ?? 0, weightsSetAt ?? 0);
  const marks = [[closedAt, "closed"], [weightsSetAt, "weights set"]].filter(([moment]) => moment != null);
  return frame(colours, {
    grid: { top: 40, bottom: NAMED_AXIS },
    tooltip: {
      formatter: ({ value: [, , start, stop, place, rows, tokens, loss] }) =>
        `${nameOf(place)}, loss ${number(loss)}\n${number(60 * (stop - start), 0)} s from minute ${number(start, 1)}\n` +
        `${wholeNumber(rows)} rows, ${wholeNumber(tokens)} tokens per pass`,
    },
    xAxis: axis(colours, {
      type: "value",
      max: minutes(end) * 1.01,
      name: "minutes",
      nameLocation: "middle",
      nameGap: 26,
      axisLabel: { showMaxLabel: false },
    }),
    yAxis: axis(colours, {
      type: "category",
      data: Array.from({ length: lanes }, (_, lane) => `lane ${lane + 1}`),
      inverse: true,
      splitLine: { show: false },
    }),
    series: [
      {
        type: "custom",
        data: bars.map(([place, lane, start, stop, ...rest]) => [lane, 0, minutes(start), minutes(stop), place, ...rest]),
        encode: { x: [2, 3], y: 0 },
        renderItem: timelineBar(colours),
      },
      {
        type: "custom",
        silent: true,
        data: marks.map(([moment]) => [minutes(moment), 0]),
        renderItem: timelineMark(colours, marks.map(([, name]) => name)),
      },
    ],
  });
}
