"use strict";
{ // names of its own
const WIDTH = 200, GAP = 12, CAPTION = 48; // pixels of a tile
const SIX = 6; // numbers of a box: label, score, left, top, right, bottom
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const read = (id) => JSON.parse($(id).textContent);
const number = new Intl.NumberFormat("en");
const counted = (count, noun) => `${number.format(count)} ${noun}${count === 1 ? "" : noun.endsWith("x") ? "es" : "s"}`;

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// ------------------------------------------------------------------------------------------------------- the records

const labels = read("labels").map(([name, colour]) => ({ name, colour }));
const images = read("rows").map(([thumbnail, name, link, width, height, ...boxes], place) => (
  typeof width === "string"
    ? { place, name, key: name.toLowerCase(), link, thumbnail, error: width, width: 4, height: 3, boxes: [] }
    : { place, name, key: name.toLowerCase(), link, thumbnail, error: "", width, height, boxes }
));
$("rows").textContent = ""; // the text of it is not needed any more

const filters = { name: "", label: -1, score: 0, kind: "all", order: "run" };
let found = []; // the images that the filters let through, in their order

/** Where the shown boxes of an image begin in its `boxes`. */
function shown({ boxes }) {
  const starts = [];
  for (let i = 0; i < boxes.length; i += SIX) {
    if (boxes[i + 1] >= filters.score && (filters.label < 0 || boxes[i] === filters.label)) starts.push(i);
  }
  return starts;
}

/** Counts an image's shown boxes; its best score; and how near the best score, shown or not, is to the lowest one shown. */
function measure(image) {
  image.count = 0;
  image.best = -1;
  let best = Infinity; // of an image without a box
  for (let i = 0; i < image.boxes.length; i += SIX) {
    if (filters.label >= 0 && image.boxes[i] !== filters.label) continue;
    const score = image.boxes[i + 1];
    best = best === Infinity ? score : Math.max(best, score);
    if (score < filters.score) continue;
    image.count += 1;
    image.best = Math.max(image.best, score);
  }
  image.doubt = Math.abs(best - filters.score);
}

const KINDS = {
  all: (image) => filters.label < 0 || image.count > 0,
  boxes: (image) => image.count > 0,
  none: (image) => !image.error && image.count === 0,
  failed: (image) => image.error !== "",
};
const by = (value) => (a, b) => value(a) - value(b) || a.place - b.place;
const collator = new Intl.Collator("en", { numeric: true });
const ORDERS = {
  run: by((image) => image.place),
  best: by((image) => -image.best),
  doubtful: (a, b) => (a.doubt < b.doubt ? -1 : a.doubt > b.doubt ? 1 : a.place - b.place),
  most: by((image) => -image.count),
  name: (a, b) => collator.compare(a.name, b.name) || a.place - b.place,
};

function apply() {
  for (const image of images) measure(image);
  found = images.filter((image) => KINDS[filters.kind](image) && image.key.includes(filters.name));
  if (filters.order !== "run") found.sort(ORDERS[filters.order]);
  const boxes = found.reduce((sum, image) => sum + image.count, 0);
  const of = found.length === images.length ? "" : ` of ${number.format(images.length)}`;
  $("count").textContent = `${number.format(found.length)}${of} ${images.length === 1 ? "image" : "images"}, ${counted(boxes, "box")}`;
  $("nothing").hidden = found.length > 0;
  current = Math.min(current, Math.max(found.length - 1, 0));
  layout();
}

// ------------------------------------------------------------------------------- the grid: only what is seen is there

const grid = $("grid");
const tiles = new Map(); // image -> its <li>
let columns = 1, wide = WIDTH, high = WIDTH;
let current = 0; // the place in `found` that the Tab key leads to

function layout() {
  const room = grid.clientWidth;
  columns = Math.max(room < 480 ? 2 : 1, Math.floor((room + GAP) / (WIDTH + GAP)));
  wide = (room - GAP * (columns - 1)) / columns;
  high = Math.round(wide * 0.75) + CAPTION;
  grid.style.height = `${Math.ceil(found.length / columns) * (high + GAP)}px`;
  draw(true);
}

/** Makes the tiles near the window and removes others; with `all` what they show is brought up to date too. */
function draw(all = false) {
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / (high + GAP)) - 1) * columns;
  const end = Math.min(found.length, (Math.ceil((top + innerHeight) / (high + GAP)) + 1) * columns);
  const seen = new Set(found.slice(first, end));
  if (found.length) seen.add(found[current]);
  for (const [image, tile] of tiles) {
    if (seen.has(image)) continue;
    tile.remove();
    tiles.delete(image);
  }
  const places = [];
  for (let i = first; i < end; i += 1) places.push(i);
  if (found.length && (current < first || current >= end)) places.push(current);
  for (const place of places) {
    const image = found[place];
    const isNew = !tiles.has(image);
    if (isNew) tiles.set(image, grid.appendChild(newTile(image)));
    if (isNew || all) show(tiles.get(image), image, place);
  }
  for (const [image, tile] of tiles) tile.firstChild.tabIndex = image === found[current] ? 0 : -1;
}

function newTile(image) {
  const view = element("span", { className: "view" });
  if (image.thumbnail) view.append(imageNode(image, [image.thumbnail]));
  else view.append(missing(image));
  const button = element("button", { type: "button", className: "tile" }, view,
    element("bdi", { className: "name", textContent: image.name.split(/[/\\]/).pop(), title: image.name }),
    element("span", { className: "found" }));
  return element("li", {}, button);
}

/** The image from the first of some addresses that the browser can show. */
function imageNode(image, addresses) {
  const node = element("img", { alt: "", decoding: "async", draggable: false });
  const next = () => {
    if (addresses.length) node.src = addresses.shift();
    else node.replaceWith(missing(image));
  };
  node.addEventListener("error", next);
  next();
  return node;
}

function missing(image) {
  const why = image.error ? [element("b", {}, "failed"), element("br"), image.error] : ["no thumbnail"];
  return element("span", { className: "missing" }, element("span", {}, ...why));
}

function show(tile, image, place) {
  Object.assign(tile.style, { width: `${wide}px`, height: `${high}px`,
    transform: `translate(${(place % columns) * (wide + GAP)}px, ${Math.floor(place / columns) * (high + GAP)}px)` });
  tile.ariaPosInSet = place + 1;
  tile.ariaSetSize = found.length;
  const button = tile.firstChild;
  button.querySelector("svg")?.remove();
  const starts = shown(image);
  if (starts.length) button.querySelector(".view").append(overlay(image, starts));
  const kinds = new Map();
  for (const i of starts) kinds.set(image.boxes[i], (kinds.get(image.boxes[i]) ?? 0) + 1);
  const parts = [...kinds].map(([label, count]) => element("span", {}, dot(labels[label]), element("bdi", {}, labels[label].name), count > 1 ? ` ×${count} ` : " "));
  const best = image.count ? `${image.best.toFixed(2)} ` : "";
  button.querySelector(".found").replaceChildren(best, ...(parts.length ? parts : [image.error ? "failed" : "no box"]));
  button.ariaLabel = `${image.name}: ${image.error || summary(image, kinds)}`;
}

function summary(image, kinds) {
  if (!image.count) return "no box";
  const names = [...kinds].map(([label, count]) => `${count} ${labels[label].name}`).join(", ");
  return `${names}; best score ${image.best.toFixed(2)}`;
}

function dot({ colour }) {
  const node = element("span", { className: "dot" });
  node.style.background = colour;
  return node;
}

/** An SVG of the boxes over an image, which is fitted into its place as the image is; the best box last. */
function overlay(image, starts) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
  svg.setAttribute("aria-hidden", "true");
  for (const i of starts.toReversed()) {
    const [label, , left, top, right, bottom] = image.boxes.slice(i, i + SIX);
    const group = document.createElementNS(SVG, "g");
    group.dataset.box = i;
    for (const name of ["under", "over"]) {
      const rect = document.createElementNS(SVG, "rect");
      const sides = { x: left, y: top, width: right - left, height: bottom - top, class: name };
      for (const [key, value] of Object.entries(sides)) rect.setAttribute(key, value);
      if (name === "over") rect.setAttribute("stroke", labels[label].colour);
      group.append(rect);
    }
    svg.append(group);
  }
  return svg;
}

// ----------------------------------------------------------------------------------------------- one image, enlarged

const large = $("large");
let enlarged = 0; // its place in `found`; where it closes, the browser first gives the focus back to where it opened

function open(place) {
  enlarged = place;
  const image = found[place];
  $("large-name").textContent = image.name;
  $("place").textContent = `${number.format(place + 1)} of ${number.format(found.length)}`;
  $("previous").disabled = place === 0;
  $("next").disabled = place === found.length - 1;
  $("original").hidden = !image.link;
  if (image.link) $("original").href = image.link;
  const frame = $("frame");
  frame.className = "";
  frame.style.width = `min(100%, calc(78vh * ${image.width / image.height}))`;
  frame.style.aspectRatio = image.error ? "" : `${image.width} / ${image.height}`;
  const addresses = [image.link, image.thumbnail].filter(Boolean);
  frame.replaceChildren(addresses.length && !image.error ? imageNode(image, addresses) : missing(image));
  const starts = shown(image);
  if (starts.length) frame.append(overlay(image, starts), ...starts.toReversed().map((i) => tag(image, i)));
  $("large-count").textContent = image.error || (starts.length ? counted(starts.length, "box") : "no box");
  $("boxes").hidden = !starts.length;
  $("boxes").replaceChildren(...starts.map((i) => element("li", {}, entry(image, i))));
  if (!large.open) large.showModal();
}

function tag(image, i) {
  const [label, score, left, top] = image.boxes.slice(i, i + SIX);
  const node = element("span", { className: "tag", ariaHidden: "true" }, element("bdi", {}, labels[label].name), ` ${score.toFixed(2)}`);
  node.dataset.box = i;
  const x = 100 * Math.min(Math.max(left / image.width, 0), 1), y = 100 * Math.min(Math.max(top / image.height, 0), 1);
  const side = x > 70 ? { right: "0" } : { left: `${x}%` };
  Object.assign(node.style, { top: `${y}%`, borderColor: labels[label].colour, transform: y > 5 ? "translateY(-100%)" : "" }, side);
  return node;
}

/** A row of the list of boxes; pointed at, its box stands out; pressed, it stays so. */
function entry(image, i) {
  const { name } = labels[image.boxes[i]], score = image.boxes[i + 1].toFixed(2);
  const button = element("button", { type: "button", ariaPressed: "false" },
    dot(labels[image.boxes[i]]), element("bdi", {}, name), element("span", {}, score));
  const point = () => {
    const pressed = $("boxes").querySelector("[aria-pressed=true]");
    const one = button.matches(":hover, :focus-visible") ? button : pressed;
    $("frame").classList.toggle("pointed", one !== null);
    for (const node of $("frame").querySelectorAll("[data-box]")) node.classList.toggle("hot", node.dataset.box === one?.dataset.box);
  };
  button.dataset.box = i;
  for (const event of ["mouseenter", "mouseleave", "focus", "blur"]) button.addEventListener(event, point);
  button.addEventListener("click", () => {
    const was = button.ariaPressed;
    for (const other of $("boxes").querySelectorAll("button")) other.ariaPressed = "false";
    button.ariaPressed = was === "true" ? "false" : "true";
    point();
  });
  return button;
}

const step = (by) => {
  const place = enlarged + by;
  if (place >= 0 && place < found.length) open(place);
};
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => large.close());
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large.addEventListener("close", () => focus(enlarged));
large.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  step(by);
});

// -------------------------------------------------------------------------------------------------------- the keyboard

function focus(place) {
  if (!found.length) return;
  current = Math.min(Math.max(place, 0), found.length - 1);
  draw();
  const button = tiles.get(found[current]).firstChild;
  button.focus({ preventScroll: true });
  const below = getComputedStyle($("filters")).position === "sticky" ? $("filters").offsetHeight + GAP : GAP;
  const { top, bottom } = button.getBoundingClientRect();
  if (top < below) scrollBy(0, top - below);
  else if (bottom > innerHeight) scrollBy(0, bottom - innerHeight + GAP);
}

const placeOf = (target) => {
  const tile = target.closest?.("#grid li");
  return tile ? tile.ariaPosInSet - 1 : -1;
};
grid.addEventListener("click", (event) => {
  const place = placeOf(event.target);
  if (place >= 0) open(place);
});
grid.addEventListener("focusin", (event) => {
  current = placeOf(event.target);
  draw();
});
grid.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const rows = Math.max(1, Math.floor(innerHeight / (high + GAP)));
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
    PageUp: -columns * rows, PageDown: columns * rows, Home: -Infinity, End: Infinity };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const place = current + moves[event.key];
  const leaves = ["ArrowUp", "ArrowDown"].includes(event.key) && (place < 0 || place >= found.length);
  if (!leaves) focus(place);
});
document.addEventListener("keydown", (event) => {
  // nothing has the focus yet: an arrow to the side goes to the images
  const isArrow = ["ArrowLeft", "ArrowRight"].includes(event.key) && event.target === document.body;
  if (isArrow && !event.altKey && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    focus(current);
    return;
  }
  if (event.key !== "/" || large.open || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
  event.preventDefault();
  $("name").select();
  $("name").scrollIntoView({ block: "nearest" });
});

// --------------------------------------------------------------------------------------------------------- the filters

function readFilters() {
  Object.assign(filters, { name: $("name").value.trim().toLowerCase(), label: $("label").value === "" ? -1 : Number($("label").value),
    score: Number($("score").value), kind: $("kind").value, order: $("order").value });
  $("score-shown").textContent = filters.score.toFixed(2);
  apply();
}

function reset() {
  $("filters").reset();
  readFilters();
  $("name").focus();
}

let drawing = 0;
function drawSoon() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => draw());
}

function start() {
  const counts = new Array(labels.length).fill(0);
  let lowest = 1, failed = 0;
  for (const { boxes, error } of images) {
    failed += error !== "";
    const here = new Set();
    for (let i = 0; i < boxes.length; i += SIX) {
      here.add(boxes[i]);
      lowest = Math.min(lowest, boxes[i + 1]);
    }
    for (const label of here) counts[label] += 1;
  }
  labels.forEach(({ name }, i) => $("label").append(element("option", { value: i, textContent: `${name} (${number.format(counts[i])})` })));
  const score = $("score"); // nothing was kept below the lowest
  score.min = score.defaultValue = score.value = Math.floor(100 * (lowest < 1 ? lowest : 0)) / 100;
  $("title").textContent = counted(images.length, "image");
  $("kind").querySelector("[value=failed]").textContent = `failed (${number.format(failed)})`;
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("input", readFilters);
  $("reset").addEventListener("click", reset);
  addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(layout).observe(grid.parentElement);
  readFilters();
}
start();
}
