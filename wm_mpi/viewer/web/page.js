// Draws what the server sends and tells it what the visitor wants. A message from the server is binary: the length of the
// figures (uint32), the figures as JSON, and a JPEG with the road and, below it, side by side, what goes on in V and M.
"use strict";

const find = (id) => document.getElementById(id);
const roads = find("road").getContext("2d", { alpha: false });
// What the small pictures are, on the road and in a dream: title, and what it says; # is how many numbers V has
const CAPTIONS = {
  road: { seen: ["Seen", "64 × 64 pixels, all that V is shown"], reconstructed: ["Reconstructed", "what V’s # numbers keep of it"],
          predicted: ["Predicted", "what M expected, a frame before"] },
  dream: { seen: ["Dreamt", "what M drew, and C sees"], reconstructed: ["Reconstructed", "what V’s # numbers keep of it"],
           predicted: ["Likeliest", "what M held for likeliest, before it drew"] },
};
const minds = Object.fromEntries(["seen", "reconstructed", "predicted"].map(
  (id) => [id, find(id).getContext("2d", { alpha: false })]));
let views = Object.keys(minds); // those that there are
const asked = new URLSearchParams(location.search); // ?track=7&dream=1&speed=2: a link brings back what somebody saw
const wishes = { driver: "champion", place: asked.get("dream") === "1" ? "dream" : "road",
                 paused: matchMedia("(prefers-reduced-motion: reduce)").matches };
const pulls = new Map(); // what is held down, by key or button: left, right, gas or brake
let line = null;
let known = false; // whether the server has ever answered
let latest = null; // the figures last written
let written = 0; // and when
let later; // the timer that writes the figures of a picture after which none comes
let recent = []; // when figures were written lately, and of which frames
// What is played, as the server tells it with a session's first picture; the page is written for a car
let game = { verb: "drive", episode: "track", keys: 3, fps: 50, gauges: ["steer", "gas", "brake"].map((name) => ({ name, kind: "bar" })) };
let grown = [0]; // the generations that the slider goes through, the champion as 0
let handed = false; // whether a visitor has driven in this episode
let built = false; // whether gauges stand in the place of the car's

function connect() {
  const address = new URL("drive", location.href);
  address.search = asked.has("run") ? new URLSearchParams({ run: asked.get("run") }) : "";
  address.protocol = address.protocol.replace("http", "ws");
  line = new WebSocket(address);
  line.binaryType = "arraybuffer";
  let met = false;
  line.onopen = () => {
    met = known = true;
    recent = [];
    latest = null;
    tell({ ...wishes, speed: Number(find("speed").value), ...trackWish() });
  };
  let before = Promise.resolve(); // pictures are decoded side by side, but drawn in the order in which they came
  line.onmessage = ({ data }) => {
    const decoded = decode(data);
    before = Promise.all([decoded, before]).then(([picture]) => show(picture))
      .catch((error) => say(`This picture cannot be drawn: ${error.message}`));
  };
  line.onclose = async ({ reason }) => {
    const [why, forGood] = reason || met ? [reason, false] : await obstacle(address.pathname + address.search);
    say(why || "No connection to the server, trying again…");
    gone(why || (known ? "The server is gone, trying again…" : "No connection to the server, trying again…"));
    if (!forGood) setTimeout(connect, 2000);
  };
}

// Why a connection never came about, which browsers hide from pages, and whether trying again is in vain. Of all requests of
// a page to its own server, a POST is one that names the page's origin as a WebSocket does.
async function obstacle(path) {
  try {
    const answer = await fetch(path, { method: "POST" });
    if (answer.ok) return ["The server answers, but no WebSocket reaches it: a proxy between must pass Upgrade on…", false];
    const ours = answer.headers.get("Content-Type")?.startsWith("text/plain");
    return [ours ? `Refused: ${(await answer.text()).trim()}` : "", ours && [403, 404].includes(answer.status)];
  } catch {
    return ["", false];
  }
}

// What is wrong with the connection, over the picture, which is of before
function gone(why) {
  find("gone").hidden = !why;
  find("gone").textContent = why;
  document.body.classList.toggle("gone", Boolean(why));
}

function tell(wish) {
  if (line.readyState === WebSocket.OPEN) line.send(JSON.stringify(wish));
}

function want(wish) {
  Object.assign(wishes, wish);
  tell(wish);
  dress();
}

async function decode(data) {
  const size = new DataView(data).getUint32(0);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
  const jpeg = new Blob([new Uint8Array(data, 4 + size)], { type: "image/jpeg" });
  return [about, await createImageBitmap(jpeg)];
}

async function show([about, picture]) {
  await new Promise(requestAnimationFrame); // a hidden page draws nothing, so it is sent nothing
  if (about.show) present(about.show);
  if (!find("gone").hidden && line.readyState === WebSocket.OPEN) gone(""); // not for what was still under way
  roads.drawImage(picture, 0, 0);
  if (about.race) ghost(about.race.place);
  const top = roads.canvas.height;
  const side = picture.height - top;
  views.forEach((name, index) => minds[name].drawImage(picture, index * side, top, side, side, 0, 0, side, side));
  picture.close();
  tell({ drawn: about.number });
  find("total").textContent = about.total.toFixed(1); // as the score in the picture
  if (about.branches) branches(about.branches);
  const told = ["generation", "track", "place", "driver", "ended"].every((name) => latest?.[name] === about[name]);
  clearTimeout(later);
  if (!told || wishes.paused || performance.now() - written > 100) write(about, !told); // nobody reads faster
  else later = setTimeout(write, 100, about, false);
}

function write(about, news) {
  written = performance.now();
  find("frame").textContent = about.frame;
  find("time").textContent = `${(about.frame / game.fps).toFixed(1)} s`;
  find("touched").hidden = !about.tiles;
  if (about.tiles) find("tiles").textContent = about.tiles.join("/");
  gauge(about.action);
  rate(about);
  banner(about);
  offer(about);
  knobs(about.z);
  alone(about);
  find("mine").hidden = about.place === "dream";
  if (about.ended && about.alone && news && about.place === "road") record(about);
  if (news) find("best").textContent = best(about.track)?.total.toFixed(1) ?? "–";
  if (news && document.activeElement !== find("track")) find("track").value = about.track;
  latest = about;
  if (news) remember();
  if (news) say(headline(about));
}

// What is told once of a session: the words of its game, its pictures and its gauges
function present(show) {
  const { canvas } = roads;
  const { width, height } = show;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  document.body.style.setProperty("--aspect", width / height);
  document.body.classList.toggle("high", width / height < 1.49);
  document.body.classList.toggle("blind", !show.views.length);
  views = show.views;
  for (const name of Object.keys(minds)) find(name).parentElement.hidden = !views.includes(name);
  const named = (gauges) => JSON.stringify(gauges.map(({ name }) => name));
  if (named(show.gauges) !== named(game.gauges)) build(show.gauges);
  game = show;
  for (const name of views) {
    const [title, text] = CAPTIONS[wishes.place][name];
    caption(name, title, text.replace("#", show.latents));
  }
  setUpKnobs(show.knobs);
  find("branches").hidden = true;
  const who = { champion: "Champion", visitor: "You" };
  for (const button of document.querySelectorAll("[data-driver]")) {
    button.textContent = `${who[button.dataset.driver]} ${button.dataset.driver === "champion" ? `${show.verb}s` : show.verb}`;
  }
  document.querySelector("[data-place=road]").textContent = show.place === "the road" ? "On the road" : `In ${show.place}`;
  document.title = `Watch it ${show.verb} · wm_mpi`;
  find("heading").textContent = `Watch it ${show.verb}`;
  find("episode").textContent = capital(show.episode);
  find("episodes").setAttribute("aria-label", capital(show.episode));
  canvas.setAttribute("aria-label", show.place === "the road" ? "The road, from above" : capital(show.place));
  find("drivers").hidden = !show.keys;
  find("drivers").setAttribute("aria-label", show.verb === "drive" ? "At the wheel" : "Who plays");
  kept(show.kept);
  if (document.activeElement !== find("temperature") && !("temperature" in wishes)) degrees(show.temperature);
  dress();
}

// What only some sessions have

// The champion's car in the visitor's picture: a place as shares of it, an angle, and the share of the width that a metre takes
function ghost([x, y, turned, metre]) {
  const { width, height } = roads.canvas;
  roads.save();
  roads.translate(x * width, y * height);
  roads.rotate(turned);
  roads.scale(metre * width, metre * width);
  roads.globalAlpha = 0.6;
  roads.fillStyle = "#0a1a3a";
  for (const across of [-1.3, 0.8]) for (const along of [-2.1, 1.1]) roads.fillRect(across, along, 0.5, 1);
  roads.fillStyle = "#2f6bff";
  roads.fillRect(-0.8, -2.5, 1.6, 5);
  roads.restore();
}

function offer(about) {
  handed = about.frame > 0 && (handed || about.driver === "visitor");
  find("offer").hidden = !(about.off && handed && about.driver === "champion" && !about.ended);
}

// The best of this browser's visitor on a track
function best(track) {
  try {
    return JSON.parse(localStorage.getItem(`wm_mpi ${game.title} ${track}`));
  } catch {
    return null; // storage is forbidden, or somebody else's
  }
}

function record(about) {
  if (about.total <= (best(about.track)?.total ?? -Infinity)) return;
  try {
    localStorage.setItem(`wm_mpi ${game.title} ${about.track}`, JSON.stringify({ total: about.total, frame: about.frame }));
  } catch { /* then it is not kept */ }
}

function knobs(z) {
  find("latents").hidden = !z?.length;
  if (!z) return;
  const sliders = [...find("knobs").querySelectorAll("input")];
  sliders.forEach((slider, index) => {
    if (slider.matches(":active")) return; // it is being moved
    slider.value = z[index];
    slider.nextElementSibling.textContent = z[index].toFixed(1);
  });
}

function setUpKnobs(places) {
  find("knobs").replaceChildren(...places.map((place) => {
    const label = document.createElement("label"), slider = document.createElement("input"), value = document.createElement("output");
    Object.assign(slider, { type: "range", min: -4, max: 4, step: 0.1 });
    slider.oninput = () => {
      value.textContent = Number(slider.value).toFixed(1);
      tell({ latents: { [place]: Number(slider.value) } });
    };
    label.append(`z${place}`, slider, value);
    return label;
  }));
}

function alone(about) {
  const going = about.imagined !== null;
  find("imagine").setAttribute("aria-pressed", going);
  const since = `M alone for ${about.imagined} frames, told of the same actions`;
  caption("predicted", ...(going ? ["Dreamt", since] : CAPTIONS[about.place].predicted));
}

function caption(name, title, text) {
  const [head, line] = find(name).nextElementSibling.children;
  if (head.textContent !== title) head.textContent = title;
  if (line.textContent !== text) line.textContent = text;
}

// What would come of other actions: a row of pictures for each
function branches({ labels, seconds, moments, frame, picture }) {
  find("branches").hidden = false;
  find("choices").replaceChildren(...labels.map((label) => Object.assign(document.createElement("li"), { textContent: label })));
  const steps = Array.from({ length: moments }, (_, index) => (seconds * (index + 1) / moments).toFixed(1));
  find("told").textContent = `What M dreams from frame ${frame} on, ${steps.join(", ")} s later, if these are held.`;
  find("strips").alt = `Dreamt pictures, a row each: ${labels.join(", ")}`;
  find("strips").src = `data:image/jpeg;base64,${picture}`;
  find("branches").scrollIntoView({ block: "nearest" });
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

// Gauges in the place of the car's: a bar for each number, or the words that an action may come to
function build(gauges) {
  built = true;
  find("gauges").replaceChildren(...gauges.map((each, index) => {
    const row = document.createElement("div"), name = document.createElement("dt"), value = document.createElement("dd");
    name.textContent = capital(each.name);
    if (each.kind === "bar") {
      const bar = document.createElement("i"), number = document.createElement("output");
      bar.className = each.low < 0 ? "bar both" : "bar";
      bar.id = `gauge-${index}`;
      number.id = `gauge-${index}-value`;
      value.append(bar, number);
    } else {
      value.className = "words";
      value.id = `gauge-${index}`;
      value.append(...each.words.map((word) => Object.assign(document.createElement("span"), { textContent: word })));
    }
    row.append(name, value);
    return row;
  }));
}

function gauge(action) {
  game.gauges.forEach((each, index) => {
    const place = find(built ? `gauge-${index}` : each.name);
    if (each.kind === "bar") {
      const most = Math.max(Math.abs(each.low ?? 0), each.high ?? 1);
      place.style.setProperty("--amount", action[index] / most);
      find(`${place.id}-value`).textContent = action[index].toFixed(2);
    } else {
      [...place.children].forEach((word, number) => word.classList.toggle("lit", lit(each, action, index, number)));
    }
  });
}

// Whether an action comes to a word: of three, by the third of the range that the number is in, or as its own number says
function lit(each, action, index, number) {
  if (each.kind !== "zones") return action[number] > 0.5;
  const third = (each.high - each.low) / 6;
  return number === (action[index] < -third ? 0 : action[index] > third ? 2 : 1);
}

// The slider over generations whose means are kept; its right end is the champion
function kept(generations) {
  const slider = find("generation");
  const wished = grown[slider.value] ?? 0;
  grown = [...generations, 0];
  slider.max = grown.length - 1;
  slider.value = grown.includes(wished) ? grown.indexOf(wished) : grown.length - 1;
  find("growth").hidden = grown.length < 2;
  ripe();
}

function ripe() {
  const wished = grown[find("generation").value];
  find("chosen").textContent = wished || "champion";
  find("generation").setAttribute("aria-valuetext", wished ? `generation ${wished}` : "the champion");
}

function degrees(temperature) {
  find("temperature").value = temperature;
  find("degrees").textContent = temperature.toFixed(2);
}

function rate(about) {
  const now = performance.now();
  if (recent.length && about.frame <= recent.at(-1).frame) recent = [];
  recent.push({ now, frame: about.frame });
  while (recent.length > 2 && now - recent[0].now > 2000) recent.shift();
  const seconds = (now - recent[0].now) / 1000;
  if (seconds > 0.5) find("rate").textContent = ((about.frame - recent[0].frame) / seconds).toFixed(0);
  if (wishes.paused) find("rate").textContent = "–";
}

function banner(about) {
  find("banner").hidden = !about.ended;
  if (about.ended) find("banner").textContent = ending(about);
}

function ending(about) {
  const why = about.lap ? "Lap completed" : about.frame >= about.max_frames ? "Time is up" : "Episode ended";
  const told = ({ total, frame }) => `${total.toFixed(1)} points in ${(frame / game.fps).toFixed(1)} s`;
  return `${why}: ${told(about)}${about.race ? `; the champion: ${told(about.race)}` : ""}`;
}

function headline(about) {
  if (about.ended) return `${ending(about)}.`;
  const who = about.driver === "visitor" ? `You ${game.verb}` : `Generation ${about.generation} ${game.verb}s`;
  const begun = game.episode === "track" ? `that begins on track ${about.track}` : `of ${game.episode} ${about.track}`;
  const where = about.place === "dream" ? `in the dream ${begun}` : `${game.episode} ${about.track}`;
  const score = about.driver === "visitor" || about.validation === null ? "" : ` (validation ${about.validation.toFixed(1)})`;
  return `${who} ${where}${score} · ${about.run}`;
}

function say(text) {
  if (find("status").textContent !== text) find("status").textContent = text;
}

// The page's address as a link to what is shown
function remember() {
  const { value } = find("speed");
  const link = new URLSearchParams({ ...(asked.has("run") && { run: asked.get("run") }), track: latest.track, ...(latest.place === "dream" && { dream: 1 }), ...(value !== "1" && { speed: value }) });
  history.replaceState(null, "", `?${link}`);
}

function dress() {
  find("pause").textContent = wishes.paused ? "Play" : "Pause";
  find("step").disabled = !wishes.paused;
  find("heat").hidden = wishes.place !== "dream";
  find("pad").hidden = wishes.driver !== "visitor" || !game.keys;
  find("pad").classList.toggle("two", game.keys < 3);
  for (const what of ["brake", "gas"]) document.querySelector(`[data-pull=${what}]`).hidden = game.keys < 3;
  find("keys").textContent = `or the arrow keys, or ${game.keys < 3 ? "A D" : "W A S D"}`
    + (game.cars && wishes.place === "road" ? "; R: from the start, against the champion’s ghost" : "");
  find("places").hidden = !views.length;
  find("alone").hidden = !game.branches && (wishes.place === "dream" || !views.includes("predicted"));
  find("imagine").hidden = wishes.place === "dream";
  find("branch").hidden = !game.branches;
  for (const button of document.querySelectorAll(".choice button")) {
    const chosen = button.dataset.driver ? wishes.driver === button.dataset.driver : wishes.place === button.dataset.place;
    button.setAttribute("aria-pressed", chosen);
  }
}

function trackWish() {
  const field = find("track"), fits = field.value !== "" && field.checkValidity();
  find("wrong").hidden = fits;
  return fits ? { track: Number(field.value) } : {};
}

// Wheel and pedals
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "gas", ArrowDown: "brake",
               KeyA: "left", KeyD: "right", KeyW: "gas", KeyS: "brake" };

function pull(source, what) {
  if (what ? pulls.get(source) === what : !pulls.has(source)) return;
  if (what) pulls.set(source, what);
  else pulls.delete(source);
  const held = new Set(pulls.values());
  for (const button of document.querySelectorAll("#pad button")) {
    button.classList.toggle("down", held.has(button.dataset.pull));
  }
  tell({ wheel: [held.has("right") - held.has("left"), Number(held.has("gas")), Number(held.has("brake"))] });
}

function release() {
  for (const source of [...pulls.keys()]) pull(source, null);
}

const SHORT = { Space: "pause", KeyR: "restart", KeyN: "next" };

addEventListener("keydown", (event) => {
  const button = SHORT[event.code];
  if (!button || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input, select, button")) return; // these know what Space is for
  event.preventDefault();
  find(button).click();
});

addEventListener("keydown", (event) => {
  const what = KEYS[event.code];
  if (wishes.driver !== "visitor" || !what || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input, select")) return; // these know arrow keys of their own
  event.preventDefault();
  pull(event.code, what);
});
addEventListener("keyup", (event) => pull(event.code, null));
addEventListener("blur", release);

for (const button of document.querySelectorAll("#pad button")) {
  const what = button.dataset.pull;
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    pull(`pointer ${event.pointerId}`, what);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    button.addEventListener(end, (event) => pull(`pointer ${event.pointerId}`, null));
  }
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("keydown", (event) => {
    if (event.code === "Space" || event.code === "Enter") pull(event.code, what);
  });
}

// Controls
find("pause").onclick = () => want({ paused: !wishes.paused });
find("back").onclick = () => tell({ restart: true });
find("imagine").onclick = () => tell({ imagine: latest?.imagined === null });
find("branch").onclick = () => tell({ branch: true });
find("step").onclick = () => tell({ step: true });
find("restart").onclick = () => tell({ restart: true });
find("speed").onchange = () => {
  tell({ speed: Number(find("speed").value) });
  if (latest) remember();
  find("road").focus();
};
find("track").onchange = () => tell(trackWish());
find("next").onclick = () => {
  find("wrong").hidden = true;
  tell({ track: (latest?.track ?? 0) + 1 });
};
find("temperature").oninput = () => {
  find("degrees").textContent = Number(find("temperature").value).toFixed(2);
  wishes.temperature = Number(find("temperature").value);
  tell({ temperature: wishes.temperature });
};
find("generation").oninput = ripe;
find("generation").onchange = () => {
  wishes.generation = grown[find("generation").value];
  tell({ generation: wishes.generation });
  find("road").focus();
};
find("temperature").onpointerup = () => find("road").focus(); // so that arrow keys steer again
for (const button of document.querySelectorAll(".choice button")) {
  button.onclick = () => { release(); want({ ...button.dataset }); };
}

for (const name of ["track", "speed"]) {
  if (asked.has(name)) find(name).value = asked.get(name);
}
if (!find("speed").value) find("speed").value = "1"; // no such speed
if (find("track").value === "") find("track").value = "0";
dress();
connect();
