// How runs grow: a table of all, and the curves of those that are chosen. The server is asked once per second for what is new.
"use strict";

const find = (id) => document.getElementById(id);
const ASK = 1000; // how often (milliseconds)
const MOST = 12; // runs in one chart
// Of Okabe and Ito, told apart by colour-blind people as well; then the same again in dashes
const COLOURS = { light: ["#0072b2", "#c2410c", "#00795a", "#a8437f", "#8a6d00", "#1d87c9"],
                  dark: ["#5ab4f0", "#f0883e", "#2ec79a", "#e08cbb", "#f0d94a", "#9ccdf2"] };
const CHARTS = [
  { title: "Return", y: "return_mean", dots: "eval_mean", first: true,
    caption: "Lines: mean over all candidates of a generation. Dots: validation of the mean solution, which chooses the champion." },
  { title: "Step size (sigma)", y: "sigma", log: true },
  { title: "Condition number of the covariance", y: "condition", log: true },
  { title: "Frames per second", y: "frames_per_second" },
  { title: "Share of the time that ranks are busy", y: "busy_share", share: true },
];
const AXES = { generation: "generation", frames_total: "frames", hours: "hours" };
const asked = new URLSearchParams(location.search);
const theme = matchMedia("(prefers-color-scheme: dark)");
let chosen = asked.getAll("run").slice(0, MOST);
let axis = asked.get("axis") in AXES ? asked.get("axis") : "generation";
let columns = [];
let paper = null;
let summaries = [];
const curves = new Map(); // of each run that is or was chosen: { edition, rows, compared }
let charts = [];
let zoomed = false;
let drawn = ""; // what the charts were last built for

async function ask() {
  const query = new URLSearchParams();
  if (!paper) query.set("published", "1");
  for (const name of chosen) query.append("have", `${curves.get(name)?.edition ?? 0}.${curves.get(name)?.rows.length ?? 0}.${name}`);
  const answer = await fetch(`runs.json?${query}`);
  if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
  take(await answer.json());
}

// One question at a time, and none while nobody looks
async function follow() {
  if (!document.hidden) {
    try {
      await ask();
    } catch (error) {
      say(error instanceof TypeError ? "The server is gone, trying again…" : `This cannot be shown: ${error.message}`);
      document.body.classList.add("gone");
    }
  }
  setTimeout(follow, ASK);
}

function take(told) {
  const before = summaries.length;
  ({ columns, runs: summaries } = told);
  paper ??= told.published;
  document.body.classList.remove("gone");
  if (!before && !chosen.some((name) => summaries.some((each) => each.name === name))) chosen = told.watched ? [told.watched] : [];
  let news = false;
  for (const [name, { edition, from, rows, compared }] of Object.entries(told.curves)) {
    const known = curves.get(name);
    news ||= rows.length > 0 || known?.edition !== edition;
    curves.set(name, { edition, compared, rows: [...(known && known.edition === edition ? known.rows.slice(0, from) : []), ...rows] });
  }
  list(told.watched);
  if (news || !drawn) draw();
  const running = summaries.filter(({ state }) => state === "training").length;
  say(`${count(summaries.length, "run")}${told.root ? ` under ${told.root}` : ""}, ${running} training`);
  if (chosen.some((name) => !curves.has(name) && summaries.some((each) => each.name === name))) ask();
}

function count(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

function say(text) {
  if (find("status").textContent !== text) find("status").textContent = text;
}

// The table

function list(watched) {
  const order = [...summaries].sort((a, b) => (b.state === "training") - (a.state === "training") ||
    (a.state === "training" ? a.name.localeCompare(b.name) : b.changed - a.changed));
  const body = find("runs").tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.name, row]));
  order.forEach((run, index) => {
    const row = known.get(run.name) ?? build(run);
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    fill(row, run, watched);
    known.delete(run.name);
  });
  for (const row of known.values()) row.remove();
  find("empty").hidden = order.length > 0;
  find("empty").textContent = "No run yet: es begins one.";
}

function build(run) {
  const row = document.createElement("tr"), head = document.createElement("th");
  row.dataset.name = run.name;
  head.scope = "row";
  const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("i");
  box.type = "checkbox";
  box.onchange = () => choose(run.name, box.checked);
  swatch.className = "swatch";
  label.append(box, swatch, run.name);
  head.append(label);
  row.append(head, ...Array.from({ length: 10 }, () => document.createElement("td")));
  return row;
}

function fill(row, run, watched) {
  const [head, state, generation, mean, validation, frames, rate, ranks, left, cost, link] = row.cells;
  const place = chosen.indexOf(run.name);
  const box = head.querySelector("input");
  box.checked = place >= 0;
  box.disabled = place < 0 && chosen.length >= MOST;
  head.querySelector(".swatch").style.background = place < 0 ? "" : colour(place);
  row.className = run.state;
  if (state.textContent !== run.state) {
    const badge = Object.assign(document.createElement("span"), { className: "state" });
    badge.append(document.createElement("i"), run.state);
    state.replaceChildren(badge);
  }
  const now = run.playing ? run.playing.episodes / run.playing.of : 0;
  put(generation, `${run.generation.toLocaleString("en")}/${run.generations.toLocaleString("en")}`);
  let bar = generation.querySelector("progress");
  if (run.state === "training") {
    bar ??= generation.appendChild(Object.assign(document.createElement("progress"), { max: 1, ariaLabel: "this generation" }));
    bar.value = now;
  } else bar?.remove();
  put(mean, number(run.mean, 1));
  put(validation, number(run.validation, 1));
  put(frames, short(run.frames));
  put(rate, run.frames_per_second === null ? "–" : short(run.frames_per_second));
  const ill = [run.lost.length ? `${run.lost.length} lost` : "", run.unlike ? `${run.unlike} kinds of processors` : ""].filter(Boolean);
  put(ranks, run.ranks === null ? "–" : [run.ranks, ...ill].join(", "));
  ranks.classList.toggle("bad", ill.length > 0);
  ranks.title = [...run.lost, run.slowest && `slowest: ${run.slowest}`].filter(Boolean).join("\n");
  put(left, run.left === null ? "–" : duration(run.left));
  put(cost, number(run.core_hours, 2));
  if (!link.firstChild) link.append(Object.assign(document.createElement("a"), { textContent: "Watch" }));
  link.firstChild.href = run.name === watched ? "./" : `./?${new URLSearchParams({ run: run.name })}`;
  link.firstChild.ariaLabel = `Watch ${run.name}`;
  row.title = [`--env ${run.game}`, run.world && `world ${run.world}`, run.temperature && `temperature ${run.temperature}`,
               `seed ${run.seed}`, run.kept && `${count(run.kept, "generation")} to watch`].filter(Boolean).join(", ");
}

// Text of a cell, before whatever else is in it
function put(cell, text) {
  if (cell.firstChild?.nodeType !== Node.TEXT_NODE) cell.prepend("");
  if (cell.firstChild.data !== text) cell.firstChild.data = text;
}

function number(value, digits) {
  return value === null ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function short(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
}

function duration(seconds) {
  const hours = Math.floor(seconds / 3600), minutes = Math.round(seconds % 3600 / 60);
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : minutes ? `${minutes} min` : `${seconds} s`;
}

function choose(name, wanted) {
  chosen = wanted ? [...chosen, name] : chosen.filter((each) => each !== name);
  remember();
  if (wanted && !curves.has(name)) ask().catch(() => {});
  else draw();
  for (const row of find("runs").tBodies[0].rows) {
    const run = summaries.find((each) => each.name === row.dataset.name);
    if (run) fill(row, run);
  }
}

function remember() {
  const link = new URLSearchParams(chosen.map((name) => ["run", name]));
  if (axis !== "generation") link.set("axis", axis);
  history.replaceState(null, "", `?${link}`);
}

// The charts

function colour(place) {
  const colours = COLOURS[theme.matches ? "dark" : "light"];
  return colours[place % colours.length];
}

function draw() {
  const shown = chosen.filter((name) => curves.get(name)?.rows.length);
  const withPaper = find("paper").checked && axis !== "hours" && shown.some((name) => curves.get(name).compared);
  find("paper").disabled = axis === "hours" || !shown.some((name) => curves.get(name).compared);
  const key = JSON.stringify([shown, axis, theme.matches, withPaper]);
  if (key !== drawn) {
    drawn = key;
    sized.disconnect();
    charts.forEach(({ plot }) => plot.destroy());
    zoom(false);
    charts = CHARTS.map((chart) => begin(chart, shown, withPaper));
    find("charts").replaceChildren(...charts.map(({ figure }) => figure));
    for (const chart of charts) sized.observe(chart.figure);
  }
  for (const { chart, plot, figure } of charts) {
    const told = data(chart, shown, withPaper);
    figure.hidden = !chart.first && !told.slice(1).some((values) => values.some((value) => value !== null && value !== undefined));
    plot.setData(told, !zoomed);
    figure.querySelector(".plot").ariaLabel = inWords(chart, shown);
  }
}

function inWords(chart, shown) {
  const last = (name) => curves.get(name).rows.at(-1)?.[columns.indexOf(chart.y)];
  return `${chart.title} by ${AXES[axis]}: ${shown.map((name) => `${name} at ${number(last(name) ?? null, 2)}`).join(", ") || "nothing chosen"}`;
}

function data(chart, shown, withPaper) {
  const x = columns.indexOf(axis), y = columns.indexOf(chart.y), dots = columns.indexOf(chart.dots);
  const fit = (value) => chart.log && !(value > 0) ? null : value;
  const tables = shown.flatMap((name) => {
    const { rows } = curves.get(name);
    const xs = rows.map((row) => row[x]);
    const lines = [xs, rows.map((row) => fit(row[y]))];
    return [chart.dots ? [...lines, rows.map((row) => row[dots])] : lines];
  });
  if (withPaper && chart.dots) {
    const key = axis === "generation" ? "generation" : "frames";
    const end = Math.max(...tables.map(([xs]) => xs.at(-1))) * 1.04;
    const until = paper[key].filter((value) => value <= end).length;
    if (until) tables.push([paper[key].slice(0, until), paper.mean.slice(0, until), paper.validation.slice(0, until)]);
    else tables.push([[tables[0][0][0]], [null], [null]]);
  }
  return tables.length ? uPlot.join(tables) : [[], []];
}

function begin(chart, shown, withPaper) {
  const figure = document.createElement("figure"), title = document.createElement("h2"), place = document.createElement("div");
  title.textContent = chart.title;
  place.className = "plot";
  place.setAttribute("role", "img");
  figure.append(title, place);
  if (chart.first) figure.className = "first";
  if (chart.caption) figure.append(Object.assign(document.createElement("figcaption"), { textContent: chart.caption }));
  const ink = getComputedStyle(document.body).color, edge = theme.matches ? "#3a4148" : "#dde1e5";
  const grey = theme.matches ? "#a5adb5" : "#555d65";
  const show = (_, value) => value === null || value === undefined ? "–" : chart.share ? `${number(100 * value, 0)} %` : tick(value);
  const series = [{ label: AXES[axis], value: (_, value) => along(value) }];
  shown.forEach((name, index) => {
    const stroke = colour(chosen.indexOf(name)), dash = chosen.indexOf(name) >= 6 ? [6, 4] : undefined;
    series.push({ label: name, stroke, dash, width: 2, spanGaps: true, value: show, points: { show: false } });
    if (chart.dots) series.push({ label: "validation", stroke, paths: () => null, value: show, points: { show: true, size: 7, fill: stroke, filter: dotted } });
  });
  if (withPaper && chart.dots) {
    series.push({ label: "published", stroke: grey, width: 1.5, dash: [2, 3], spanGaps: true, value: show, points: { show: false } });
    series.push({ label: "validation", stroke: grey, paths: () => null, value: show, points: { show: true, size: 6, fill: grey, filter: dotted } });
  }
  if (series.length === 1) series.push({ label: "nothing chosen" });
  const grid = { stroke: edge, width: 1 };
  const plot = new uPlot({
    width: 600, height: chart.first ? 340 : 220, series,
    scales: { x: { time: false }, y: chart.log ? { distr: 3 } : chart.share ? { range: [0, 1] } : {} },
    axes: [{ stroke: ink, grid, ticks: grid, label: AXES[axis], labelSize: 22, size: 40, values: (_, ticks) => ticks.map(along) },
           { stroke: ink, grid, ticks: grid, size: 62, values: (_, ticks) => ticks.map((value) => value === null ? "" : chart.share ? `${Math.round(100 * value)} %` : tick(value)) }],
    cursor: { y: false, sync: { key: "runs" }, drag: { x: true, y: false } },
    legend: { live: true, isolate: false },
    hooks: { setSelect: [({ select }) => select.width && zoom(true)] },
  }, data(chart, shown, withPaper), place);
  plot.over.addEventListener("dblclick", () => zoom(false));
  return { chart, plot, figure };
}

// Every value that there is, and not only so many as have room for points
function dotted(plot, index, shown, gaps) {
  const found = [], values = plot.data[index];
  for (let each = 0; each < values.length; each += 1) if (values[each] !== null && values[each] !== undefined) found.push(each);
  return found;
}

function tick(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 10000 || (size && size < 0.001) ? value.toLocaleString("en", { notation: size < 1 ? "scientific" : "compact", maximumSignificantDigits: 3 })
    : value.toLocaleString("en", { maximumSignificantDigits: size >= 1000 ? 5 : 4 });
}

// A place on the horizontal axis
function along(value) {
  return axis === "frames_total" ? short(value) : tick(value);
}

function zoom(closer) {
  zoomed = closer;
  find("whole").disabled = !closer;
}

const sized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const known = charts.find(({ figure }) => figure === target);
    const width = Math.floor(target.clientWidth);
    if (known && width && known.plot.width !== width) known.plot.setSize({ width, height: known.plot.height });
  }
});

// Controls

for (const button of document.querySelectorAll("[data-axis]")) {
  button.onclick = () => {
    axis = button.dataset.axis;
    press();
    remember();
    draw();
  };
}

function press() {
  for (const button of document.querySelectorAll("[data-axis]")) button.setAttribute("aria-pressed", button.dataset.axis === axis);
}

find("paper").onchange = draw;
find("whole").onclick = () => {
  zoom(false);
  draw();
};
theme.addEventListener("change", draw);
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask().catch(() => {}); });
press();
follow();
