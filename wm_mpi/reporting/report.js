// Values of the figures: at the pointer, under a finger, and by the arrow keys. Without scripts the page lacks only these.
"use strict";
const NEAR = 0.025; // of a figure's width: what lies farther from the pointer is not told

function figure(script) {
  const told = JSON.parse(script.textContent), chart = script.previousElementSibling, plot = chart.querySelector("svg");
  const share = (value, [, low, high, log]) =>
    log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  const text = (value) => value.toLocaleString("en", { maximumSignificantDigits: 12 }).replace("-", "−");
  const stops = stopsOf(told.places, told.counted?.[1]);
  const cross = add("div", "cross"), box = add("div", "told"), dots = told.series.map((each) => add("i", each.colour));
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", className: "steps", min: 0, max: stops.length - 1, value: stops.length - 1 });
  slider.setAttribute("aria-label", `Values: ${told.y[0]}`);
  script.after(slider);

  // Where the pointer stops: at each place of the run's own curve, and at others' where that has none.
  function stopsOf(places, own) {
    const end = own === undefined ? -Infinity : places[own].at(-1);
    const kept = places.flatMap((each, number) => number === own || own === undefined ? each :
      each.filter((place) => place > end && share(place, told.x) - share(end, told.x) > NEAR));
    return [...new Set(kept)].sort((a, b) => a - b);
  }

  function add(tag, kind) {
    const made = chart.appendChild(document.createElement(tag));
    made.className = kind;
    made.hidden = true;
    return made;
  }

  // What each series has nearest to a place on x, if that is near.
  function found(x) {
    return told.series.map((each, number) => {
      if (each.places === undefined) return { each, number, x, y: each.y[0] };
      const places = told.places[each.places];
      let at = 0;
      places.forEach((place, index) => { if (Math.abs(place - x) < Math.abs(places[at] - x)) at = index; });
      const far = Math.abs(share(places[at], told.x) - share(x, told.x));
      return far > NEAR || share(places[at], told.x) > 1 ? null :
        { each, number, x: places[at], y: each.y[at], low: each.low?.[at], called: each.at?.[at] };
    }).filter(Boolean);
  }

  function place(x, called) {
    const at = told.counted ? told.places[told.counted[1]].indexOf(x) : -1;
    return `${told.x[0]} ${called ?? text(x)}${at < 0 ? "" : `, ${told.counted[0]} ${text(told.counted[2][at])}`}`;
  }

  function show(stop) {
    const x = stops[stop], all = found(x), here = place(x, all.find((one) => one.x === x && one.called)?.called);
    const lines = all.map(({ each, x: own, y, low }) =>
      [each.colour, each.name, `${low === undefined ? "" : `${text(low)} to `}${text(y)}` +
        (own === x ? "" : ` at ${text(own)}`)]);
    slider.value = stop;
    slider.setAttribute("aria-valuetext", [here, ...lines.map(([, name, value]) => `${name} ${value}`)].join("; "));
    return { x, all, here, lines };
  }

  function point(stop) {
    const { x, all, here, lines } = show(stop), across = share(x, told.x);
    box.replaceChildren(...[["", here], ...lines.map(([colour, ...words]) => [colour, ...words])].map(([colour, ...words]) => {
      const line = document.createElement("div"), name = line.appendChild(document.createElement("b"));
      [name.className, name.textContent] = [colour, words[0]];
      if (words.length > 1) line.append(" ", words[1]);
      return line;
    }));
    dots.forEach((dot) => { dot.hidden = true; });
    all.forEach(({ number, x: own, y }) => {
      const up = share(y, told.y);
      dots[number].hidden = up < 0 || up > 1;
      dots[number].style = `left:${100 * share(own, told.x)}%;top:${100 - 100 * up}%`;
    });
    cross.hidden = box.hidden = false;
    cross.style.left = `${100 * across}%`;
    const { width } = plot.getBoundingClientRect(), wide = box.offsetWidth;
    const wanted = across > 0.5 ? across * width - wide - 10 : across * width + 10;
    box.style.left = `${Math.max(-30, Math.min(wanted, width + 8 - wide))}px`;
  }

  function hide() {
    for (const each of [cross, box, ...dots]) each.hidden = true;
  }

  function follow(event) {
    const { left, width } = plot.getBoundingClientRect(), at = (event.clientX - left) / width;
    let best = 0;
    stops.forEach((stop, index) => {
      if (Math.abs(share(stop, told.x) - at) < Math.abs(share(stops[best], told.x) - at)) best = index;
    });
    point(best);
  }

  show(stops.length - 1);
  chart.addEventListener("pointermove", follow);
  chart.addEventListener("pointerdown", follow);
  chart.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  document.addEventListener("pointerdown", (event) => { if (!chart.contains(event.target)) hide(); });
  slider.addEventListener("input", () => point(Number(slider.value)));
  slider.addEventListener("focus", () => { if (slider.matches(":focus-visible")) point(Number(slider.value)); });
  slider.addEventListener("blur", hide);
}

document.querySelectorAll("script.points").forEach(figure);
