'use strict';
// Draws DATA (see report.go). The view is a window of time, [view.from, view.to], in ns.

const GUTTER = 92; // px left of the lanes, for their names
const LANE = 22; // px a lane
const AXIS = 24; // px for the times on top
const MAX_ROWS = 200; // rows of the table of operations
const ink = '#1b1f24', soft = '#57606a', rule = '#d0d7de';
const CLASSES = {
  write: { fill: '#0b5cad', edge: '#0b3d73', text: '#fff', name: 'write, acknowledged' },
  read: { fill: '#e3f0fb', edge: '#0b5cad', text: ink, name: 'read, or a write that changed nothing' },
  unknown: { fill: '#fff3d6', edge: '#7a4d00', text: ink, dash: [4, 3], name: 'write, outcome unknown (goes on if it never returned)' },
  refused: { fill: '#fff', edge: '#6e7781', text: soft, cross: '#c4c9cf', name: 'refused or failed' },
};
const STATES = {
  leader: { fill: '#d3efdb', edge: '#1a6b34', name: 'leads, with its term' },
  down: { fill: '#57606a', edge: '#24292f', text: '#fff', name: 'crashed' },
  paused: { fill: '#eaeef2', edge: '#57606a', hatch: '#8c959f', name: 'paused' },
  minority: { fill: 'rgba(201,60,55,.10)', edge: '#c93c37', hatch: 'rgba(201,60,55,.45)', name: 'reaches no majority' },
  fault: { fill: '#fbe3e1', edge: '#a40e26', name: 'fault' },
};
const ORDER = ['leader', 'paused', 'down', 'minority', 'fault'];

const $ = (id) => document.getElementById(id);
const canvas = $('line');
const byId = new Map(DATA.ops.map((o) => [o.id, o]));
const violations = DATA.findings.filter((f) => f.status === 'violation');
let current = violations[0] || null;
let involved = new Set(current ? current.ops : []);
let chosen = null;
const full = pad(DATA.from, DATA.to, 0.02);
const view = { ...full };

// Lanes from top to bottom. Operations of one client that overlap go into rows of
// their own: an attempt may time out after the next was called.
const lanes = [];
if (DATA.spans.some((s) => s.kind === 'fault')) lanes.push({ kind: 'faults', name: 'faults', rows: 1 });
for (const n of DATA.nodes) lanes.push({ kind: 'node', id: n, name: n, rows: 1 });
for (const c of DATA.clients) lanes.push({ kind: 'client', id: c, name: 'client ' + c, rows: 1 });
// What never returned is drawn first: its line goes on below everything after it.
const inOrder = [...DATA.ops.filter((o) => o.ret < 0), ...DATA.ops.filter((o) => o.ret >= 0)];
const laneOf = new Map(lanes.map((l) => [l.kind + '/' + (l.id ?? ''), l]));
stack(DATA.spans.filter((s) => s.kind === 'fault'), () => laneOf.get('faults/'), (s) => [s.from, s.to], 4);
stack(DATA.ops, (o) => laneOf.get('client/' + o.client), (o) => [o.call, o.ret < 0 ? o.call : o.ret], 3);
let height = AXIS, idle = 0;

// layout gives each lane its place. Clients with nothing in view have none: a client that
// gave an operation up goes on as another, so there may be hundreds.
function layout() {
  const rows = new Map();
  for (const o of DATA.ops) {
    const lane = laneOf.get('client/' + o.client);
    if (inView(o)) rows.set(lane, Math.max(rows.get(lane) || 0, o.row + 1));
  }
  height = AXIS;
  idle = 0;
  for (const l of lanes) {
    l.top = height;
    l.shown = l.kind === 'client' ? rows.get(l) || 0 : l.rows;
    if (!l.shown) idle++;
    height += l.shown * LANE;
  }
  height += idle ? LANE : 6;
}

function inView(o) {
  const end = o.ret < 0 ? full.to : o.ret;
  return end >= view.from && o.call <= view.to;
}

// stack gives each item the first free row of its lane, and no more than most.
function stack(items, lane, span, most) {
  const free = new Map();
  for (const item of items) {
    const l = lane(item);
    const [from, to] = span(item);
    const ends = free.get(l) || [];
    free.set(l, ends);
    let row = ends.findIndex((e) => e <= from);
    if (row < 0) row = Math.min(ends.length, most - 1);
    ends[row] = Math.max(ends[row] ?? 0, to);
    item.row = row;
    l.rows = Math.max(l.rows, row + 1);
  }
}

function pad(from, to, by) {
  const extra = Math.max((to - from) * by, 1);
  return { from: from - extra, to: to + extra };
}

function fit(c, wanted) {
  const ratio = window.devicePixelRatio || 1;
  const width = c.clientWidth;
  c.style.height = wanted + 'px';
  c.width = Math.round(width * ratio);
  c.height = Math.round(wanted * ratio);
  const g = c.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.font = '12px system-ui, sans-serif';
  g.textBaseline = 'middle';
  g.clearRect(0, 0, width, wanted);
  return [g, width];
}

const x = (t, width) => GUTTER + ((t - view.from) / (view.to - view.from)) * (width - GUTTER);

function time(ns, step) {
  const units = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']];
  const [size, name] = units.find(([u]) => Math.abs(step) >= u) || units[3];
  return Number((ns / size).toFixed(3)).toLocaleString('en') + ' ' + name;
}

// grid draws the times.
function grid(g, width, bottom) {
  const rough = ((view.to - view.from) / (width - GUTTER)) * 130;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) || 10 * power;
  g.strokeStyle = rule;
  g.fillStyle = soft;
  g.lineWidth = 1;
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
    const at = Math.round(x(t, width)) + 0.5;
    line(g, at, AXIS - 6, at, bottom);
    if (at < width - 70) g.fillText(time(t, step), at + 4, 10);
  }
}

function line(g, x1, y1, x2, y2) {
  g.beginPath();
  g.moveTo(x1, y1);
  g.lineTo(x2, y2);
  g.stroke();
}

// box draws one bar in a style: fill, edge, hatch, cross or dash, and its label.
function box(g, left, top, width, tall, style, label) {
  g.save();
  g.beginPath();
  g.rect(left, top, width, tall);
  g.clip();
  g.fillStyle = style.fill;
  g.fillRect(left, top, width, tall);
  if (style.hatch) {
    g.strokeStyle = style.hatch;
    g.lineWidth = 1.5;
    for (let i = Math.floor((left - tall) / 8) * 8; i < left + width; i += 8) line(g, i, top + tall, i + tall, top);
  }
  if (style.cross) {
    g.strokeStyle = style.cross;
    line(g, left, top, left + width, top + tall);
  }
  g.setLineDash(style.dash || []);
  g.strokeStyle = style.edge;
  g.lineWidth = 1;
  g.strokeRect(left + 0.5, top + 0.5, Math.max(width - 1, 0.5), tall - 1);
  if (label && width > 34 && tall > 12) {
    g.fillStyle = style.text || ink;
    g.fillText(label, Math.max(left, GUTTER) + 5, top + tall / 2 + 0.5);
  }
  g.restore();
}

function draw() {
  layout();
  const [g, width] = fit(canvas, height);
  grid(g, width, height);
  g.save();
  g.beginPath();
  g.rect(GUTTER, 0, width - GUTTER, height);
  g.clip();
  shadeFaults(g, width, height);
  drawWindow(g, width, height);
  for (const kind of ORDER) {
    for (const s of DATA.spans) {
      if (s.kind !== kind || s.to < view.from || s.from > view.to) continue;
      const lane = laneOf.get(kind === 'fault' ? 'faults/' : 'node/' + s.node);
      if (!lane) continue;
      const left = Math.max(x(s.from, width), GUTTER - 5), right = Math.min(x(s.to, width), width + 5);
      box(g, left, lane.top + (s.row || 0) * LANE + 2, Math.max(right - left, 2), LANE - 4, STATES[kind], kind === 'minority' ? '' : s.label);
    }
  }
  const marked = [];
  for (const o of inOrder) {
    const at = place(o, width);
    if (!at) continue;
    if (involved.has(o.id) || o === chosen) marked.push([o, at]);
    else box(g, at.left, at.top, at.width, at.tall, CLASSES[o.class], o.id + ' ' + o.label);
  }
  for (const [o, at] of marked) {
    box(g, at.left, at.top, at.width, at.tall, CLASSES[o.class], o.id + ' ' + o.label);
    g.strokeStyle = o === chosen ? '#0550ae' : '#a40e26';
    g.lineWidth = 3;
    g.strokeRect(at.left - 2, at.top - 1, at.width + 4, at.tall + 2);
    if (at.width <= 34) {
      g.font = '600 12px system-ui, sans-serif';
      g.fillStyle = '#fff';
      const text = 'op ' + o.id;
      g.fillRect(at.left + at.width + 3, at.top, g.measureText(text).width + 4, at.tall);
      g.fillStyle = g.strokeStyle;
      g.fillText(text, at.left + at.width + 5, at.top + at.tall / 2);
      g.font = '12px system-ui, sans-serif';
    }
  }
  g.restore();
  g.strokeStyle = rule;
  g.fillStyle = ink;
  for (const l of lanes) {
    if (!l.shown) continue;
    line(g, 0, l.top + 0.5, width, l.top + 0.5);
    g.fillText(l.name, 8, l.top + LANE / 2 + 1, GUTTER - 12);
  }
  if (idle) {
    line(g, 0, height - LANE + 0.5, width, height - LANE + 0.5);
    g.fillStyle = soft;
    g.fillText('and ' + idle + (idle === 1 ? ' client' : ' clients') + ' with nothing in view', 8, height - LANE / 2 + 1);
  }
  drawLoad();
  drawClaims();
  list();
  const step = (view.to - view.from) / 10;
  $('range').textContent = time(view.from, step) + ' to ' + time(view.to, step);
}

// shadeFaults shades the times of faults.
function shadeFaults(g, width, bottom) {
  g.fillStyle = 'rgba(164, 14, 38, .06)';
  for (const s of DATA.spans) {
    if (s.kind !== 'fault' || s.to < view.from || s.from > view.to) continue;
    const left = Math.max(x(s.from, width), GUTTER), right = Math.min(x(s.to, width), width);
    g.fillRect(left, AXIS, Math.max(right - left, 1), bottom - AXIS);
  }
}

// drawLoad draws answers a second, and how long they took, on the same axis of time.
function drawLoad() {
  const c = $('load');
  if (!c || DATA.load.length === 0) return;
  const half = 110, tall = 2 * half;
  const [g, width] = fit(c, tall);
  grid(g, width, tall);
  shadeFaults(g, width, tall);
  const step = DATA.load.length > 1 ? DATA.load[1].to - DATA.load[0].to : full.to - full.from;
  const seen = DATA.load.filter((l) => l.to >= view.from && l.to - step <= view.to);
  const most = seen.reduce((m, l) => Math.max(m, l.done, l.refused, l.unknown), 1);
  const slowest = seen.reduce((m, l) => Math.max(m, l.p99), 1);
  const count = (n) => half - 6 - (n / most) * (half - AXIS - 12);
  const took = (t) => tall - 8 - (t / slowest) * (half - 20);
  g.fillStyle = soft;
  g.fillText(Math.round((most / step) * 1e9).toLocaleString('en') + '/s', 8, count(most));
  g.fillText('0', 8, count(0));
  g.fillText(time(slowest, slowest), 8, took(slowest));
  g.fillText('0', 8, took(0));
  g.strokeStyle = rule;
  line(g, GUTTER, count(0), width, count(0));
  line(g, GUTTER, took(0), width, took(0));
  g.save();
  g.beginPath();
  g.rect(GUTTER, 0, width - GUTTER, tall);
  g.clip();
  const curve = (of, y, color, dash) => {
    g.strokeStyle = color;
    g.lineWidth = 1.5;
    g.setLineDash(dash || []);
    g.beginPath();
    seen.forEach((l, i) => g[i ? 'lineTo' : 'moveTo'](x(l.to - step / 2, width), y(of(l))));
    g.stroke();
  };
  curve((l) => l.done, count, '#1a6b34');
  curve((l) => l.refused, count, '#a40e26', [4, 3]);
  curve((l) => l.unknown, count, '#7a4d00', [1, 3]);
  curve((l) => l.p50, took, '#0b5cad');
  curve((l) => l.p99, took, '#0b5cad', [4, 3]);
  g.setLineDash([]);
  g.restore();
}

// drawWindow shades when the violation happened.
function drawWindow(g, width, bottom) {
  if (!current) return;
  const left = x(current.from, width) - 4, right = Math.max(x(current.to, width), x(current.from, width) + 2) + 4;
  g.fillStyle = 'rgba(255, 196, 0, .22)';
  g.fillRect(left, AXIS - 8, right - left, bottom);
  g.strokeStyle = '#a40e26';
  g.lineWidth = 1.5;
  g.setLineDash([6, 4]);
  line(g, left, AXIS - 8, left, bottom);
  line(g, right, AXIS - 8, right, bottom);
  g.setLineDash([]);
}

// place is where an operation is drawn, or null.
function place(o, width) {
  if (!inView(o)) return null;
  const end = o.ret < 0 ? full.to : o.ret;
  const lane = laneOf.get('client/' + o.client);
  const left = Math.max(x(o.call, width), GUTTER - 20), right = Math.min(x(end, width), width + 20);
  const thin = o.ret < 0; // its end is open: a thin line to the right
  return { left, top: lane.top + o.row * LANE + (thin ? 8 : 3), width: Math.max(right - left, 3), tall: thin ? 6 : LANE - 6 };
}

// drawClaims draws claimed and true ages on the same axis of time.
function drawClaims() {
  const c = $('claims');
  if (!c) return;
  const tall = 170;
  const [g, width] = fit(c, tall);
  const seen = DATA.claims.filter((p) => p.at >= view.from && p.at <= view.to);
  const most = seen.reduce((m, p) => Math.max(m, p.claimed, p.true), 1);
  const y = (age) => tall - 12 - (age / most) * (tall - AXIS - 24);
  grid(g, width, tall);
  g.fillStyle = soft;
  g.fillText(time(most, most), 8, y(most));
  g.fillText('0', 8, y(0));
  g.strokeStyle = rule;
  line(g, GUTTER, y(0), width, y(0));
  for (const p of seen) {
    const at = x(p.at, width), lie = p.true > p.claimed;
    g.strokeStyle = lie ? '#a40e26' : '#6e7781';
    g.lineWidth = lie ? 3 : 1;
    line(g, at, y(p.claimed), at, y(p.true));
    g.lineWidth = 1.5;
    g.fillStyle = '#fff';
    dot(g, at, y(p.claimed), 4);
    g.fill();
    g.stroke();
    g.fillStyle = lie ? '#a40e26' : ink;
    dot(g, at, y(p.true), 3);
    g.fill();
    if (lie) g.fillText('op ' + p.op, at + 7, y(p.true));
  }
}

function dot(g, left, top, radius) {
  g.beginPath();
  g.arc(left, top, radius, 0, 7);
}

// list is the table of what is in view: those of the violation first.
let listing = 0;
function list() {
  cancelAnimationFrame(listing);
  listing = requestAnimationFrame(() => {
    const seen = DATA.ops.filter((o) => o.call <= view.to && (o.ret < 0 ? o.call >= view.from : o.ret >= view.from));
    seen.sort((a, b) => involved.has(b.id) - involved.has(a.id) || a.call - b.call);
    $('ops-note').textContent = seen.length > MAX_ROWS ? `The first ${MAX_ROWS} of ${seen.length}; zoom in to see the others.` : `${seen.length} operations.`;
    const step = (view.to - view.from) / 10;
    const rows = seen.slice(0, MAX_ROWS).map((o) => {
      const tr = document.createElement('tr');
      if (involved.has(o.id)) tr.className = 'involved';
      const pick = document.createElement('button');
      pick.type = 'button';
      pick.textContent = (involved.has(o.id) ? '✗ ' : '') + o.id;
      pick.onclick = () => choose(o);
      tr.append(cell(pick), cell(time(o.call, step)), cell(o.ret < 0 ? 'never' : time(o.ret, step)), cell(o.text, 'text'));
      return tr;
    });
    document.querySelector('#ops tbody').replaceChildren(...rows);
  });
}

function cell(content, cls) {
  const td = document.createElement('td');
  if (cls) td.className = cls;
  td.append(content);
  return td;
}

function choose(o) {
  chosen = o;
  $('detail').textContent = o.text;
  draw();
}

function show(from, to) {
  const least = 20; // ns
  if (to - from < least) [from, to] = [from - least / 2, to + least / 2];
  view.from = Math.max(from, full.from - (full.to - full.from));
  view.to = Math.min(to, full.to + (full.to - full.from));
  draw();
}

function move(by) {
  const d = (view.to - view.from) * by;
  show(view.from + d, view.to + d);
}

function zoom(by, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * by, at + (view.to - at) * by);
}

function showFinding(f) {
  current = f;
  involved = new Set(f.ops);
  $('detail').textContent = f.judge + ': ' + f.text;
  const w = pad(f.from, f.to, 0.6);
  show(w.from, w.to);
  // The lane of the first operation involved comes into sight.
  const o = f.ops.map((id) => byId.get(id)).find(Boolean);
  const lane = o && laneOf.get('client/' + o.client);
  const at = canvas.getBoundingClientRect();
  const low = at.top + (lane ? lane.top : 0);
  if (low < 0 || low > window.innerHeight - 80) window.scrollBy(0, low - window.innerHeight / 2);
}

$('in').onclick = () => zoom(0.5);
$('out').onclick = () => zoom(2);
$('left').onclick = () => move(-0.5);
$('right').onclick = () => move(0.5);
$('all').onclick = () => show(full.from, full.to);
if ($('window')) $('window').onclick = () => showFinding(current);
for (const b of document.querySelectorAll('[data-finding]')) b.onclick = () => showFinding(DATA.findings[b.dataset.finding]);

canvas.addEventListener('keydown', (e) => {
  const act = { ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1.6), Home: () => show(full.from, full.to) }[e.key];
  if (act) {
    e.preventDefault();
    act();
  }
});
const timeAt = (e) => {
  const r = canvas.getBoundingClientRect();
  return view.from + ((e.clientX - r.left - GUTTER) / (r.width - GUTTER)) * (view.to - view.from);
};
canvas.addEventListener('wheel', (e) => {
  if (!e.ctrlKey && Math.abs(e.deltaX) < Math.abs(e.deltaY) && document.activeElement !== canvas) return; // the page scrolls
  e.preventDefault();
  if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) move(e.deltaX / 1000);
  else zoom(e.deltaY > 0 ? 1.25 : 0.8, timeAt(e));
}, { passive: false });
let drag = null;
canvas.addEventListener('pointerdown', (e) => {
  drag = { x: e.clientX, from: view.from, to: view.to, moved: false };
  canvas.setPointerCapture(e.pointerId);
});
canvas.addEventListener('pointermove', (e) => {
  if (!drag) return hover(e, false);
  const d = ((drag.x - e.clientX) / (canvas.clientWidth - GUTTER)) * (drag.to - drag.from);
  if (Math.abs(e.clientX - drag.x) > 3) drag.moved = true;
  if (drag.moved) show(drag.from + d, drag.to + d);
});
canvas.addEventListener('pointerup', (e) => {
  if (drag && !drag.moved) hover(e, true);
  drag = null;
});

// hover tells about the operation or state under the pointer.
function hover(e, pick) {
  const r = canvas.getBoundingClientRect();
  const px = e.clientX - r.left, py = e.clientY - r.top;
  const lane = lanes.find((l) => py >= l.top && py < l.top + l.shown * LANE);
  if (!lane) return;
  if (lane.kind === 'client') {
    const row = Math.floor((py - lane.top) / LANE);
    const o = DATA.ops.findLast((c) => {
      const at = c.client === lane.id && c.row === row && place(c, canvas.clientWidth);
      return at && px >= at.left - 2 && px <= at.left + at.width + 2;
    });
    if (o && pick) choose(o);
    else if (o) $('detail').textContent = o.text;
    return;
  }
  const t = timeAt(e);
  const here = DATA.spans.filter((s) => (lane.kind === 'faults' ? s.kind === 'fault' : s.node === lane.id) && s.from <= t && t <= s.to);
  if (here.length) $('detail').textContent = lane.name + ': ' + here.map((s) => s.kind + (s.label ? ' (' + s.label + ')' : '')).join(', ');
}

// legend draws one sample of each style that may occur.
function legend() {
  const styles = [...Object.values(CLASSES)];
  for (const kind of ORDER) if (DATA.spans.some((s) => s.kind === kind)) styles.push(STATES[kind]);
  if (violations.length) styles.push({ fill: 'rgba(255, 196, 0, .22)', edge: '#a40e26', dash: [6, 4], name: 'window of the violation; its operations have a thick frame' });
  for (const s of styles) {
    const item = document.createElement('li');
    const sample = document.createElement('canvas');
    item.append(sample, s.name);
    $('legend').append(item);
    const [g] = fit(sample, 16);
    box(g, 1, 1, 42, 14, s, '');
  }
}

legend();
window.addEventListener('resize', draw);
if (current) {
  showFinding(current);
} else {
  draw();
}
