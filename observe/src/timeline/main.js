// What a person does: moving, zooming, clicking, searching.

const $ = (id) => document.getElementById(id);
const WHOLE = Math.max(1, data.end);

function show(from, to) {
  const span = Math.min(WHOLE * 1.02, Math.max(2, to - from));
  view.from = Math.min(Math.max(from, -WHOLE * 0.01), WHOLE * 1.01 - span);
  view.to = view.from + span;
  schedule();
}

function zoom(factor, around = (view.from + view.to) / 2) {
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

const whole = () => show(-WHOLE * 0.005, WHOLE * 1.005);
const move = (share) => show(view.from + (view.to - view.from) * share, view.to + (view.to - view.from) * share);

// ---------------------------------------------------------------- the job that is selected

function select(lane, n, zoomTo = false) {
  view.selected = { lane, n };
  const start = lane.start[n], end = lane.end[n], span = view.to - view.from;
  if (zoomTo && (end - start) * 40 < span) {
    const around = Math.max((end - start) * 20, 200);
    show((start + end) / 2 - around, (start + end) / 2 + around);
  } else if (end < view.from || start > view.to) {
    show((start + end) / 2 - span / 2, (start + end) / 2 + span / 2);
  }
  const top = lane.index * laneHeight;
  if (top < scroller.scrollTop || top + laneHeight > scroller.scrollTop + scroller.clientHeight) {
    scroller.scrollTop = top - scroller.clientHeight / 2;
  }
  showFacts(lane, n);
  schedule();
}

function element(name, text, parent, classes = "") {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  if (classes) made.className = classes;
  if (parent) parent.append(made);
  return made;
}

function showFacts(lane, n) {
  const facts = $("facts"), raw = lane.raw, worker = workerById.get(raw.worker[n]);
  facts.replaceChildren();
  facts.hidden = false;
  element("h2", `${labelOf(lane, n)}: ${outcomeOf(lane, n)}`, facts);
  const list = element("dl", null, facts);
  const fact = (name, value) => {
    const group = element("div", null, list);
    element("dt", name, group);
    element("dd", value, group);
  };
  fact("job", `${raw.job[n]}`);
  if (lane.slot === null) {
    fact("ended", `${duration(lane.end[n])} after the start, at ${clockAt(lane.end[n])}`);
    fact("waited", duration(raw.waited[n]));
    fact("worker", "none had it");
  } else {
    fact("attempt", `${raw.attempt[n]}`);
    fact("ran", duration(raw.ran[n]));
    fact("waited", duration(raw.waited[n]));
    fact("began", `${duration(lane.start[n])} after the start, at ${clockAt(lane.start[n])}`);
    fact("worker", `${raw.worker[n]} in place ${lane.slot}`);
    if (worker) {
      fact("process", worker.site === null ? `${worker.pid}` : `${worker.pid} at ${worker.site}`);
      const own = worker.exited !== null && worker.exiting !== null && worker.forJob && worker.exiting >= lane.start[n]
        && (n + 1 >= lane.count || lane.raw.worker[n + 1] !== worker.id);
      if (own) fact("its worker then", worker.status);
      if (worker.limit && worker.limitAt >= lane.start[n] && worker.limitAt <= lane.end[n] + 1e4) fact("limit", worker.limit);
    }
  }
  const detail = raw.details[n];
  if (detail) {
    element("pre", detail[0], facts).setAttribute("aria-label", "error");
    if (detail[1]) {
      element("h2", "stderr", facts);
      element("pre", detail[1], facts);
    }
  }
}

// The attempt at a place of the canvas: the one under it, or the nearest within some pixels.
function attemptAt(x, y) {
  const lane = lanes[Math.floor(y / laneHeight)];
  if (!lane || x < GUTTER) return null;
  const at = toTime(x), reach = (4 * (view.to - view.from)) / width;
  const after = firstOver(lane.start, at);
  let best = null, bestGap = reach;
  for (const n of [after - 1, after]) {
    if (n < 0 || n >= lane.count) continue;
    const gap = Math.max(0, lane.start[n] - at, at - lane.end[n]);
    if (gap < bestGap || (gap === 0 && best === null)) [best, bestGap] = [{ lane, n }, gap];
  }
  return best;
}

function step(by, wanted = () => true) {
  const selected = view.selected;
  const lane = selected ? selected.lane : lanes.find((lane) => lane.count > 0);
  if (!lane) return;
  let n = selected ? selected.n + by : Math.min(lane.count - 1, firstOver(lane.start, view.from));
  while (n >= 0 && n < lane.count && !wanted(lane, n)) n += by;
  if (n >= 0 && n < lane.count) select(lane, n);
}

function stepLane(by) {
  const from = view.selected ? view.selected.lane.index : by > 0 ? -1 : lanes.length;
  const at = view.selected ? view.selected.lane.start[view.selected.n] : view.from;
  for (let index = from + by; index >= 0 && index < lanes.length; index += by) {
    const lane = lanes[index];
    if (lane.count > 0) return select(lane, Math.max(0, Math.min(lane.count, firstOver(lane.start, at)) - 1));
  }
}

// The next after the selected one in time, on any lane, that did not succeed.
function stepFailed(kinds = null) {
  const selected = view.selected, at = selected ? selected.lane.start[selected.n] : -1;
  let best = null;
  const bad = (lane, n) => (kinds ? kinds === (lane.raw.outcome[n] & 15) : lane.kind[n] > 1);
  const later = (lane, n, than) => lane.start[n] > than || (lane.start[n] === than && selected && lane.index > selected.lane.index);
  for (const round of [at, -1]) {
    for (const lane of lanes) {
      for (let n = firstOver(lane.start, round - 1); n < lane.count; n++) {
        if (best && lane.start[n] >= best.lane.start[best.n]) break;
        if (bad(lane, n) && later(lane, n, round)) { best = { lane, n }; break; }
      }
    }
    if (best) return select(best.lane, best.n, true);
  }
}

// ---------------------------------------------------------------- search

let hits = [], hit = -1;
function search() {
  hits = findLabel($("query").value);
  hit = -1;
  $("matches").textContent = $("query").value.trim() ? `${hits.length} found` : "";
  schedule();
}

function stepHit(by) {
  if (!hits.length) return;
  hit = (hit + by + hits.length) % hits.length;
  if (by < 0 && hit < 0) hit = hits.length - 1;
  $("matches").textContent = `${hit + 1} of ${hits.length}`;
  select(hits[hit].lane, hits[hit].n, true);
}

$("query").addEventListener("input", search);
$("search").addEventListener("submit", (event) => { event.preventDefault(); stepHit(1); });
$("before").addEventListener("click", () => stepHit(hit < 0 ? 0 : -1));

// ---------------------------------------------------------------- pointer and keys

let drag = null;
lanesCanvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.offsetX, from: view.from, to: view.to, moved: false };
  lanesCanvas.setPointerCapture(event.pointerId);
});
lanesCanvas.addEventListener("pointermove", (event) => {
  if (!drag) {
    const found = attemptAt(event.offsetX, event.offsetY);
    lanesCanvas.title = found ? `${labelOf(found.lane, found.n)}: ${outcomeOf(found.lane, found.n)}, ${duration(found.lane.raw.ran[found.n])}` : "";
    return;
  }
  const by = event.offsetX - drag.x;
  drag.moved ||= Math.abs(by) > 3;
  if (drag.moved) {
    const shift = (-by / (width - GUTTER)) * (drag.to - drag.from);
    show(drag.from + shift, drag.to + shift);
  }
});
lanesCanvas.addEventListener("pointerup", (event) => {
  const found = drag && !drag.moved ? attemptAt(event.offsetX, event.offsetY) : null;
  drag = null;
  if (found) select(found.lane, found.n);
});
lanesCanvas.addEventListener("pointercancel", () => { drag = null; });
for (const canvas of canvases) {
  canvas.addEventListener("wheel", (event) => {
    const scrolls = canvas === lanesCanvas && scroller.scrollHeight > scroller.clientHeight + 1;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / 1000);
    else if (scrolls && !event.ctrlKey && !event.metaKey) return;
    else zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 400), toTime(Math.max(GUTTER, event.offsetX)));
    event.preventDefault();
  }, { passive: false });
}

const KEYS = {
  "ArrowLeft": () => move(-0.15), "ArrowRight": () => move(0.15), "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6),
  "0": whole, "Home": whole, "n": () => step(1), "p": () => step(-1), "ArrowDown": () => stepLane(1), "ArrowUp": () => stepLane(-1),
  "f": () => stepFailed(), "Enter": () => view.selected && select(view.selected.lane, view.selected.n, true),
};
lanesCanvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  KEYS[event.key]();
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== $("query")) {
    $("query").focus();
    event.preventDefault();
  }
});
$("in").addEventListener("click", () => zoom(0.5));
$("out").addEventListener("click", () => zoom(2));
$("whole").addEventListener("click", whole);
scroller.addEventListener("scroll", schedule);
window.addEventListener("resize", resize);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", resize);

// ---------------------------------------------------------------- what stands around it

function count(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

function headings() {
  $("title").textContent = data.pool;
  const processes = workers.length + data.workersLeftOut;
  const kept = lanes.reduce((all, lane) => all + lane.count, 0);
  const summed = data.recorded + data.totals[data.outcomes.indexOf("running")] - kept;
  const parts = [
    new Date(data.begun).toLocaleString("sv"), duration(data.end), count(data.recorded - data.retries, "job"),
    data.retries ? count(data.retries, "retry").replace("retrys", "retries") : "",
    `${count(lanes.filter((lane) => lane.slot !== null).length, "worker")} in ${count(processes, "process").replace("processs", "processes")}`,
    summed > 0 ? `the oldest ${summed.toLocaleString("en")} attempts as sums` : "",
  ];
  $("summary").textContent = parts.filter(Boolean).join(" · ");
  lanesCanvas.setAttribute("aria-label", `timeline of ${parts.filter(Boolean).slice(2).join(", ")}`);
  const most = Math.max(0, ...memoryTotals), longest = Math.max(0, ...samples.backlog);
  chartsCanvas.setAttribute("aria-label", `memory, at most ${bytes(most)}; backlog, at most ${count(longest, "job")}`);
  data.outcomes.forEach((name, outcome) => {
    if (!data.totals[outcome]) return;
    const button = element("button", null, element("li", null, $("legend")));
    button.type = "button";
    element("i", null, button).style.background = `var(--${CLASSES[classOfOutcome[outcome]]})`;
    button.append(`${data.totals[outcome].toLocaleString("en")} ${name}`);
    button.title = `to the next that ${name === "out of memory" || name === "no worker" ? "came to: " : ""}${name}`;
    button.addEventListener("click", () => stepFailed(outcome));
  });
}

function table(parent, heads, rows, empty) {
  if (!rows.length) return element("p", empty, parent, "none");
  const made = element("table", null, parent), head = element("tr", null, element("thead", null, made));
  heads.forEach(([name, classes]) => element("th", name, head, classes).scope = "col");
  const body = element("tbody", null, made);
  for (const row of rows) {
    const line = element("tr", null, body);
    row.forEach((cell, n) => {
      const td = element("td", typeof cell === "string" ? cell : null, line, heads[n][1]);
      if (typeof cell !== "string") {
        const button = element("button", labelOf(cell.lane, cell.n), td);
        button.type = "button";
        button.addEventListener("click", () => { select(cell.lane, cell.n, true); $("facts").scrollIntoView({ block: "nearest" }); });
      }
    });
  }
}

function tables() {
  const failed = [], slow = [];
  let least = -1;
  for (const lane of lanes) {
    for (let n = 0; n < lane.count; n++) {
      if (lane.kind[n] > 1 && failed.length < 20000) failed.push({ lane, n });
      if (lane.raw.ran[n] <= least) continue;
      slow.push({ lane, n });
      if (slow.length > 4000) {
        slow.sort((one, two) => two.lane.raw.ran[two.n] - one.lane.raw.ran[one.n]).length = 10;
        least = slow[9].lane.raw.ran[slow[9].n];
      }
    }
  }
  failed.sort((one, two) => one.lane.start[one.n] - two.lane.start[two.n]);
  const firstLine = (at) => (at.lane.raw.details[at.n] || [""])[0].split("\n")[0].slice(0, 160);
  table($("failed"), [["job", ""], ["", ""], ["", ""]], failed.slice(0, 50).map((at) => [at, outcomeOf(at.lane, at.n), firstLine(at)]),
    "All that have ended succeeded.");
  if (failed.length > 50) element("p", `and ${failed.length - 50} more`, $("failed"), "none");
  slow.sort((one, two) => two.lane.raw.ran[two.n] - one.lane.raw.ran[one.n]);
  table($("slow"), [["job", ""], ["ran", "number"], ["waited", "number"]],
    slow.slice(0, 10).map((at) => [at, duration(at.lane.raw.ran[at.n]), duration(at.lane.raw.waited[at.n])]), "Nothing has run.");
  const rows = lanes.filter((lane) => lane.slot !== null).slice(0, 64).map((lane) => {
    const sums = lane.raw.sums.reduce(([all, busy], sum) => [all + sum[0], busy + sum[2]], [0, 0]);
    const busy = ((lane.busy[lane.count] + sums[1]) / WHOLE) * 100;
    const most = (samples.memory[lane.slot] || []).reduce((most, value) => Math.max(most, value), 0);
    return [`${lane.slot}`, `${lane.workers.length}`, (lane.count + sums[0]).toLocaleString("en"), `${busy.toFixed(0)} %`, bytes(most)];
  });
  table($("workers"), [["place", ""], ["processes", "number"], ["attempts", "number"], ["busy", "number"], ["memory, most", "number"]], rows,
    "No worker was started.");
}

headings();
tables();
resize();
whole();
