// Draws what the server sends and tells it what the visitor wants. A message from the server is binary: the length of the
// figures (uint32), the figures as JSON, and a JPEG with the road and, below it, side by side, what goes on in V and M.
"use strict";

const find = (id) => document.getElementById(id);
const roads = find("road").getContext("2d", { alpha: false });
const minds = ["seen", "reconstructed", "predicted"].map((id) => find(id).getContext("2d", { alpha: false }));
const wishes = { driver: "champion", place: "road", paused: matchMedia("(prefers-reduced-motion: reduce)").matches };
const pulls = new Map(); // what is held down, by key or button: left, right, gas or brake
let line = null;
let latest = null; // the figures last written
let written = 0; // and when
let later; // the timer that writes the figures of a picture after which none comes
let recent = []; // when figures were written lately, and of which frames

function connect() {
  const address = new URL("drive", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  line = new WebSocket(address);
  line.binaryType = "arraybuffer";
  let met = false;
  line.onopen = () => {
    met = true;
    recent = [];
    latest = null;
    tell({ ...wishes, speed: Number(find("speed").value), temperature: Number(find("temperature").value), ...trackWish() });
  };
  let before = Promise.resolve(); // pictures are decoded side by side, but drawn in the order in which they came
  line.onmessage = ({ data }) => {
    const decoded = decode(data);
    before = Promise.all([decoded, before]).then(([picture]) => show(picture))
      .catch((error) => say(`This picture cannot be drawn: ${error.message}`));
  };
  line.onclose = async ({ reason }) => {
    const [why, forGood] = reason || met ? [reason, false] : await obstacle(address.pathname);
    say(why || "No connection to the server, trying again…");
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
    return [ours ? `Refused: ${(await answer.text()).trim()}` : "", ours && answer.status === 403];
  } catch {
    return ["", false];
  }
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
  roads.drawImage(picture, 0, 0);
  const top = roads.canvas.height;
  const side = picture.height - top;
  minds.forEach((mine, index) => mine.drawImage(picture, index * side, top, side, side, 0, 0, side, side));
  picture.close();
  tell({ drawn: about.number });
  const told = ["generation", "track", "place", "driver", "ended"].every((name) => latest?.[name] === about[name]);
  clearTimeout(later);
  if (!told || wishes.paused || performance.now() - written > 100) write(about, !told); // nobody reads faster
  else later = setTimeout(write, 100, about, false);
}

function write(about, news) {
  written = performance.now();
  find("total").textContent = about.total.toFixed(1);
  find("frame").textContent = about.frame;
  ["steer", "gas", "brake"].forEach((name, index) => {
    find(name).style.setProperty("--amount", about.action[index]);
    find(`${name}-value`).textContent = about.action[index].toFixed(2);
  });
  rate(about);
  banner(about);
  if (news && document.activeElement !== find("track")) find("track").value = about.track;
  latest = about;
  if (news) say(headline(about));
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
  return `${why}: ${about.total.toFixed(1)} points in ${about.frame} frames`;
}

function headline(about) {
  if (about.ended) return `${ending(about)}.`;
  const who = about.driver === "visitor" ? "You drive" : `Generation ${about.generation} drives`;
  const where = about.place === "dream" ? `in the dream that begins on track ${about.track}` : `track ${about.track}`;
  const score = about.driver === "visitor" || about.validation === null ? "" : ` (validation ${about.validation.toFixed(1)})`;
  return `${who} ${where}${score} · ${about.run}`;
}

function say(text) {
  if (find("status").textContent !== text) find("status").textContent = text;
}

function dress() {
  find("pause").textContent = wishes.paused ? "Play" : "Pause";
  find("step").disabled = !wishes.paused;
  find("heat").hidden = wishes.place !== "dream";
  find("pad").hidden = wishes.driver !== "visitor";
  for (const button of document.querySelectorAll(".choice button")) {
    const chosen = button.dataset.driver ? wishes.driver === button.dataset.driver : wishes.place === button.dataset.place;
    button.setAttribute("aria-pressed", chosen);
  }
}

function trackWish() {
  const field = find("track");
  return field.value !== "" && field.checkValidity() ? { track: Number(field.value) } : {};
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
find("step").onclick = () => tell({ step: true });
find("restart").onclick = () => tell({ restart: true });
find("speed").onchange = () => { tell({ speed: Number(find("speed").value) }); find("road").focus(); };
find("track").onchange = () => {
  if (find("track").reportValidity() && find("track").value !== "") tell(trackWish());
};
find("next").onclick = () => tell({ track: (latest?.track ?? 0) + 1 });
find("temperature").oninput = () => {
  find("degrees").textContent = Number(find("temperature").value).toFixed(2);
  tell({ temperature: Number(find("temperature").value) });
};
find("temperature").onpointerup = () => find("road").focus(); // so that arrow keys steer again
for (const button of document.querySelectorAll(".choice button")) {
  button.onclick = () => { release(); want({ ...button.dataset }); };
}

dress();
connect();
