// What is drawn: never more rectangles than can be seen, whatever the number of attempts.

const GUTTER = 78;
// More rectangles than this are not drawn one by one: pixels take their place.
const RECTANGLES = 12000;

const view = { from: 0, to: Math.max(1, data.end), selected: null };
const frames = { count: 0, slowest: 0 };
const canvases = ["axis", "lanes", "charts"].map((id) => document.getElementById(id));
const [axisCanvas, lanesCanvas, chartsCanvas] = canvases;
const scroller = document.getElementById("scroll");
const laneHeight = [[8, 32], [32, 24], [96, 13]].find(([most]) => lanes.length <= most)?.[1] ?? 7;
let colours = {}, width = 0;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of [...CLASSES, "text", "muted", "line", "grid", "lane", "panel", "accent", "mark", "kill", "sums", "area", "area2"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

const toX = (us) => GUTTER + ((us - view.from) / (view.to - view.from)) * (width - GUTTER);
const toTime = (x) => view.from + ((x - GUTTER) / (width - GUTTER)) * (view.to - view.from);

// Gives a canvas the size that it is shown at.
function fit(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "11px system-ui, 'Liberation Sans', sans-serif";
  context.textBaseline = "middle";
  return context;
}

function resize() {
  width = Math.max(200, scroller.clientWidth);
  readColours();
  schedule();
}

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const before = performance.now();
    drawAxis();
    drawLanes();
    drawCharts();
    frames.count += 1;
    frames.slowest = Math.max(frames.slowest, performance.now() - before);
  });
}

// Round steps of time, so that some ten are to be seen.
function ticks() {
  const about = (view.to - view.from) / Math.max(2, (width - GUTTER) / 110);
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 15e6, 3e7,
    6e7, 12e7, 3e8, 6e8, 12e8, 18e8, 36e8, 72e8, 216e8, 432e8, 864e8];
  const step = steps.find((step) => step >= about) || 864e8 * Math.ceil(about / 864e8);
  const found = [];
  for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) found.push(at);
  return { step, found };
}

function tickLabel(at, step) {
  if (at === 0) return "0";
  if (step >= 1e6) return at < 120e6 ? `${at / 1e6} s` : duration(at);
  if (step >= 1e3) return at < 1e6 ? `${at / 1e3} ms` : `${(at / 1e6).toFixed(step >= 1e5 ? 1 : step >= 1e4 ? 2 : 3)} s`;
  return `${(at / 1e3).toFixed(3)} ms`;
}

function drawAxis() {
  const context = fit(axisCanvas, 26);
  context.clearRect(0, 0, width, 26);
  context.fillStyle = colours.muted;
  context.textAlign = "center";
  const { step, found } = ticks();
  for (const at of found) context.fillText(tickLabel(at, step), Math.min(width - 24, Math.max(GUTTER, toX(at))), 14);
}

function drawGrid(context, height) {
  context.fillStyle = colours.grid;
  for (const at of ticks().found) context.fillRect(Math.round(toX(at)), 0, 1, height);
}

function drawLanes() {
  const height = Math.max(1, lanes.length) * laneHeight;
  const context = fit(lanesCanvas, height);
  const top = scroller.scrollTop, bottom = top + scroller.clientHeight;
  const shown = lanes.filter((lane) => (lane.index + 1) * laneHeight >= top && lane.index * laneHeight <= bottom);
  context.clearRect(0, top, width, bottom - top);
  for (const lane of shown) {
    context.fillStyle = lane.index % 2 ? colours.panel : colours.lane;
    context.fillRect(0, lane.index * laneHeight, width, laneHeight);
  }
  drawGrid(context, height);
  context.save();
  context.beginPath();
  context.rect(GUTTER, 0, width - GUTTER, height);
  context.clip();
  const each = RECTANGLES / Math.max(1, shown.length);
  // A pixel a column where there are few lanes, more where there are many.
  const column = Math.min(8, Math.max(1, Math.ceil((shown.length * width) / 24000)));
  for (const lane of shown) {
    const y = lane.index * laneHeight;
    drawSums(context, lane, y);
    drawWorkers(context, lane, y);
    const first = firstOver(lane.latest, view.from), last = firstOver(lane.start, view.to);
    if (last - first <= each) drawEach(context, lane, y, first, last, shown.length);
    else drawColumns(context, lane, y, first, last, column);
    drawMarks(context, lane, y);
    drawFound(context, lane, y);
  }
  if (view.selected) drawSelected(context);
  context.restore();
  context.textAlign = "left";
  shown.forEach((lane) => {
    if (laneHeight < 12 && lane.index % 3) return;
    context.fillStyle = view.selected && view.selected.lane === lane ? colours.accent : colours.muted;
    context.fillText(laneName(lane), 6, lane.index * laneHeight + laneHeight / 2);
  });
}

// What succeeded is lower than the rest, so that colour is not all that tells them apart.
function box(kind, y) {
  const gap = laneHeight > 12 ? 2 : 1;
  const inset = kind <= 1 && laneHeight > 12 ? 3 : 0;
  return [y + gap + inset, laneHeight - 2 * gap - inset];
}

function drawEach(context, lane, y, first, last, shown) {
  const texts = laneHeight > 16 && shown * (width / 60) < 800;
  for (let n = first; n < last; n++) {
    const from = Math.max(GUTTER - 2, toX(lane.start[n])), to = Math.min(width + 2, toX(lane.end[n]));
    const [at, high] = box(lane.kind[n], y);
    const wide = Math.max(1, to - from - (to - from > 4 ? 1 : 0));
    context.fillStyle = colours[CLASSES[lane.kind[n]]];
    context.fillRect(from, at, wide, high);
    if (texts && wide > 44) {
      context.fillStyle = colours.panel;
      const letters = Math.floor((wide - 8) / 6.2), label = labelOf(lane, n);
      context.textAlign = "left";
      context.fillText(label.length > letters ? `${label.slice(0, letters - 1)}…` : label, from + 4, at + high / 2 + 0.5);
    }
  }
}

// One column at a time, each by what falls into it: the worst that happened, and how much of it was busy.
function drawColumns(context, lane, y, first, last, column) {
  let n = first, runFrom = 0, runColour = -1, runShade = 0;
  const flush = (to) => {
    if (runColour < 0) return;
    const [at, high] = box(runColour, y);
    context.globalAlpha = 0.4 + 0.2 * runShade;
    context.fillStyle = colours[CLASSES[runColour]];
    context.fillRect(runFrom, at, to - runFrom, high);
  };
  for (let x = GUTTER; x < width; x += column) {
    const from = toTime(x), to = toTime(x + column);
    const next = n < last && lane.start[n] <= to ? firstOver(lane.start, to, n) : n;
    let colour = -1, busy = 0;
    if (next > n) {
      for (colour = CLASSES.length - 1; colour > 0 && lane.counts[colour][next] === lane.counts[colour][n]; colour--);
      busy = lane.busy[next] - lane.busy[n];
    }
    // One that began before and goes on.
    if (n > 0 && lane.latest[n - 1] > from) {
      colour = Math.max(colour, lane.kind[n - 1]);
      busy += Math.min(to, lane.latest[n - 1]) - from;
    }
    const shade = colour < 0 ? 0 : Math.min(3, Math.round((3 * busy) / (to - from)));
    if (colour !== runColour || shade !== runShade) {
      flush(x);
      [runFrom, runColour, runShade] = [x, colour, shade];
    }
    n = next;
  }
  flush(width);
  context.globalAlpha = 1;
}

// The oldest attempts are sums: a bar as high as the worker was busy, with a red foot where some did not succeed.
function drawSums(context, lane, y) {
  const sums = lane.raw.sums;
  const first = Math.max(0, Math.floor(view.from / data.sumWidth));
  for (let part = first; part < sums.length && part * data.sumWidth < view.to; part++) {
    const [attempts, bad, busy] = sums[part];
    if (!attempts && !busy) continue;
    const from = toX(part * data.sumWidth), to = toX((part + 1) * data.sumWidth);
    const high = Math.max(1, Math.min(1, busy / data.sumWidth) * (laneHeight - 4));
    context.fillStyle = colours.sums;
    context.fillRect(from, y + laneHeight - 2 - high, Math.max(1, to - from), high);
    if (bad) {
      context.fillStyle = colours.crashed;
      context.fillRect(from, y + laneHeight - 3, Math.max(1, to - from), 2);
    }
  }
}

// A worker's life is a line, dashed until it is ready.
function drawWorkers(context, lane, y) {
  const middle = Math.round(y + laneHeight / 2);
  let lastX = -10;
  for (const worker of lane.workers) {
    const end = worker.exited ?? data.end;
    if (end < view.from || worker.spawned > view.to) continue;
    const from = toX(worker.spawned), ready = toX(worker.ready ?? worker.exited ?? data.end), to = toX(end);
    if (to - lastX < 1) continue;
    lastX = to;
    context.fillStyle = colours.line;
    context.fillRect(ready, middle, Math.max(1, to - ready), 1);
    context.fillStyle = colours.muted;
    for (let x = Math.max(from, GUTTER - 4), n = 0; x < Math.min(ready, width) && n < 500; x += 4, n++) context.fillRect(x, middle - 1, 2, 2);
    if (laneHeight > 12) context.fillRect(from, y + 3, 1, laneHeight - 6);
  }
}

// Kills and limits, at most one a few pixels.
function drawMarks(context, lane, y) {
  let lastX = -10;
  const size = laneHeight > 12 ? 4 : 2;
  for (const worker of lane.workers) {
    const middle = y + laneHeight / 2;
    if (worker.limitAt !== null && worker.limitAt >= view.from && worker.limitAt <= view.to) {
      const x = toX(worker.limitAt);
      context.fillStyle = colours.late;
      context.beginPath();
      context.moveTo(x - size, y);
      context.lineTo(x + size, y);
      context.lineTo(x, y + 1.5 * size);
      context.fill();
    }
    const killed = worker.forJob ? worker.exiting : null;
    if (killed === null || killed < view.from || killed > view.to || toX(killed) - lastX < 3) continue;
    const x = lastX = toX(killed);
    for (const [colour, wide] of [[colours.panel, 4], [colours.kill, 1.8]]) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.beginPath();
      context.moveTo(x - size, middle - size);
      context.lineTo(x + size, middle + size);
      context.moveTo(x - size, middle + size);
      context.lineTo(x + size, middle - size);
      context.stroke();
    }
  }
}

function drawFound(context, lane, y) {
  if (!lane.found) return;
  context.fillStyle = colours.mark;
  let drawn = -10;
  for (let n = Math.max(0, firstOver(lane.found.start, view.from) - 1); n < lane.found.places.length; n++) {
    const place = lane.found.places[n], x = toX(lane.start[place]);
    if (x > width) break;
    const to = toX(lane.end[place]);
    if (to < drawn + 1) {
      // The next one that is not in the same pixel.
      n = Math.max(n, firstOver(lane.found.start, toTime(drawn + 1), n) - 1);
      continue;
    }
    context.fillRect(x, y, Math.max(2, to - x), laneHeight > 12 ? 4 : 3);
    drawn = Math.max(x + 2, to);
  }
}

function drawSelected(context) {
  const { lane, n } = view.selected;
  const from = toX(lane.start[n]), to = toX(lane.end[n]), y = lane.index * laneHeight;
  context.strokeStyle = colours.text;
  context.lineWidth = 2;
  context.strokeRect(from - 1.5, y + 1, Math.max(3, to - from + 2), laneHeight - 2);
}

// ---------------------------------------------------------------- memory and backlog

const samples = data.samples;
const memoryTotals = samples.at.map((_, n) => samples.memory.reduce((all, of) => all + of[n], 0));

function drawCharts() {
  const context = fit(chartsCanvas, 150);
  context.clearRect(0, 0, width, 150);
  drawGrid(context, 150);
  chart(context, 4, 66, memoryTotals, colours.area, "memory", bytes);
  chart(context, 80, 66, samples.backlog, colours.area2, "backlog", (jobs) => `${jobs} job${jobs === 1 ? "" : "s"}`);
}

function chart(context, top, height, values, colour, name, inWords) {
  const first = Math.max(0, firstOver(samples.at, view.from) - 1);
  const last = Math.min(values.length - 1, firstOver(samples.at, view.to));
  let most = 0;
  for (let n = first; n <= last; n++) most = Math.max(most, values[n]);
  const toY = (value) => top + height - (most ? (value / most) * (height - 14) : 0);
  context.save();
  context.beginPath();
  context.rect(GUTTER, top, width - GUTTER, height + 2);
  context.clip();
  context.beginPath();
  context.moveTo(toX(samples.at[first] ?? 0), top + height);
  for (let n = first; n <= last; n++) {
    // As it was until the next look.
    context.lineTo(toX(samples.at[n]), toY(values[n]));
    context.lineTo(toX(samples.at[n + 1] ?? data.end), toY(values[n]));
  }
  context.lineTo(toX(samples.at[last + 1] ?? data.end), top + height);
  context.globalAlpha = 0.28;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = 1.2;
  context.stroke();
  context.restore();
  context.fillStyle = colours.line;
  context.fillRect(GUTTER, top + height, width - GUTTER, 1);
  context.textAlign = "left";
  context.fillStyle = colours.muted;
  context.fillText(name, 6, top + height / 2 - 6);
  context.fillText(inWords(most), 6, top + height / 2 + 9);
}
