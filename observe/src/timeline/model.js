"use strict";
// The recording, made ready to be drawn: arrays that can be searched by halving, and counts up to each attempt, so that what
// falls into one pixel is a difference of two of them, however many attempts there are.

const data = JSON.parse(document.getElementById("data").textContent);

// How an attempt ended, as it is coloured; the last is the one to be seen where several fall into one pixel.
const CLASSES = ["succeeded", "running", "gone", "failed", "late", "memory", "crashed"];
const CLASS_OF = {
  "succeeded": 0, "running": 1, "aborted": 2, "closed": 2, "no worker": 2, "expired": 2, "failed": 3, "not encodable": 3, "timed out": 4,
  "out of memory": 5, "panicked": 6, "crashed": 6, "broke the protocol": 6,
};
const classOfOutcome = data.outcomes.map((name) => CLASS_OF[name]);

const workers = data.workers.map(
  ([id, slot, pid, spawned, ready, exiting, forJob, exited, status, limitAt, limit, jobs, site]) =>
    ({ id, slot, pid, spawned, ready, exiting, forJob: forJob === 1, exited, status, limitAt, limit, jobs, site }));
const workerById = new Map(workers.map((worker) => [worker.id, worker]));

const lanes = data.lanes.map((raw, index) => {
  const count = raw.start.length;
  const start = new Float64Array(count), end = new Float64Array(count), latest = new Float64Array(count);
  const kind = new Uint8Array(count), busy = new Float64Array(count + 1);
  const counts = CLASSES.map(() => new Uint32Array(count + 1));
  let at = 0, last = 0;
  for (let n = 0; n < count; n++) {
    at += raw.start[n];
    start[n] = at;
    end[n] = at + raw.ran[n];
    last = latest[n] = Math.max(last, end[n]);
    kind[n] = classOfOutcome[raw.outcome[n] & 15];
    busy[n + 1] = busy[n] + raw.ran[n];
    for (let of = 0; of < CLASSES.length; of++) counts[of][n + 1] = counts[of][n] + (kind[n] === of ? 1 : 0);
  }
  return {
    index, slot: raw.slot, count, start, end, latest, kind, busy, counts, raw, found: null,
    workers: workers.filter((worker) => worker.slot === raw.slot),
  };
});

// The first place whose value is over the limit, from a place on.
function firstOver(values, limit, from = 0) {
  let low = from, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] > limit) high = middle; else low = middle + 1;
  }
  return low;
}

function labelOf(lane, n) {
  const label = lane.raw.label[n];
  return label > 0 ? data.labels[label - 1] : `job ${lane.raw.job[n]}`;
}

function outcomeOf(lane, n) {
  const outcome = lane.raw.outcome[n];
  return data.outcomes[outcome & 15] + (outcome >= 16 ? ", tried again" : "");
}

function laneName(lane) {
  return lane.slot === null ? "no worker" : `worker ${lane.slot}`;
}

// Marks the attempts whose label has the text in it, and counts them. All of them, in the order of time.
function findLabel(text) {
  const wanted = text.trim().toLowerCase();
  const hits = [];
  const matching = new Set();
  if (wanted) data.labels.forEach((label, n) => { if (label.toLowerCase().includes(wanted)) matching.add(n + 1); });
  for (const lane of lanes) {
    lane.found = null;
    if (!wanted) continue;
    const places = [];
    for (let n = 0; n < lane.count; n++) {
      const label = lane.raw.label[n];
      if (label > 0 ? matching.has(label) : `job ${lane.raw.job[n]}`.includes(wanted)) places.push(n);
    }
    lane.found = { places, start: Float64Array.from(places, (n) => lane.start[n]) };
    places.forEach((n) => hits.push({ lane, n }));
  }
  return hits.sort((one, two) => one.lane.start[one.n] - two.lane.start[two.n]);
}

// ---------------------------------------------------------------- in words

function duration(us) {
  const round = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${round(us / 1e3)} ms`;
  if (us < 120e6) return `${round(us / 1e6)} s`;
  const minutes = Math.floor(us / 60e6);
  if (minutes < 120) return `${minutes} min ${Math.round((us % 60e6) / 1e6)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function bytes(kib) {
  if (kib < 1024) return `${kib} KiB`;
  const mib = kib / 1024;
  return mib < 1024 ? `${mib.toFixed(mib < 10 ? 1 : 0)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

function clockAt(us) {
  return new Date(data.begun + us / 1000).toLocaleTimeString([], { hour12: false });
}
