// The page works without this script. With it, the pieces that change are asked for each second, keys label parts, and
// the slider of the heat is remembered. All words come from the server.
"use strict";

const body = document.body;
const every_ms = 1000;
const late_ms = 5000; // without an answer for so long, what is shown is old
let answered = Date.now();
let pending = null; // the request under way
let timer = 0;
let again = null;

function one(selector, within = document) {
  return within.querySelector(selector);
}

// ---------------------------------------------------------------------------------------------------- pieces

const shown = new Map();

function replace(name, html) {
  // Only what differs is touched: focus, selection and what is open stay as they are.
  const place = one(`[data-part="${name}"]`);
  if (!place || shown.get(name) === html) return;
  const made = document.createElement("template");
  made.innerHTML = html; // made by the server's templates, which escape
  match(place, made.content);
  shown.set(name, html);
}

function match(now, then) {
  const before = Array.from(now.childNodes);
  const after = Array.from(then.childNodes);
  after.forEach((wanted, at) => {
    const found = before[at];
    if (!found) now.append(wanted);
    else if (found.nodeName !== wanted.nodeName || found.id !== wanted.id) found.replaceWith(wanted);
    else if (found.nodeType !== Node.ELEMENT_NODE) {
      if (found.data !== wanted.data) found.data = wanted.data;
    } else {
      for (const name of found.getAttributeNames()) if (!wanted.hasAttribute(name)) found.removeAttribute(name);
      for (const name of wanted.getAttributeNames()) {
        const value = wanted.getAttribute(name);
        if (found.getAttribute(name) !== value) found.setAttribute(name, value);
      }
      match(found, wanted);
    }
  });
  for (const left of before.slice(after.length)) left.remove();
}

function load(image, address) {
  // The picture when it is there, undefined where it does not come, null for none.
  return new Promise((resolve) => {
    if (!address) return resolve(null);
    if (image.getAttribute("src") === address) return resolve(image);
    const made = new Image();
    made.className = image.className;
    made.alt = "";
    made.onload = () => resolve(made);
    made.onerror = () => resolve(undefined);
    made.src = address;
  });
}

function put(image, loaded) {
  if (loaded === null) {
    image.hidden = true;
    image.removeAttribute("src");
  } else if (loaded !== image) {
    image.replaceWith(loaded);
  }
}

const said = new Map();
let spoke = 0;

function say(tile) {
  // A screen reader hears when the outcome of a camera changes, and not more than it can say.
  const now = Date.now();
  if (said.get(tile.at) === tile.outcome || tile.number === null || now - spoke < 2000) return;
  if (said.has(tile.at)) {
    one("#say").textContent = tile.say;
    spoke = now;
  }
  said.set(tile.at, tile.outcome);
}

async function show_tile(tile, parts) {
  const place = one(`[data-tile="${tile.at}"]`);
  if (!place) return location.reload();
  const frame = one("img.frame", place);
  const heat = one("img.heat", place);
  const [new_frame, new_heat] = await Promise.all([load(frame, tile.frame), load(heat, tile.heat)]);
  if (new_frame === undefined || new_heat === undefined) return; // gone already: the next answer has a newer one
  if (new_frame) new_frame.alt = tile.alt;
  put(frame, new_frame);
  put(heat, new_heat);
  for (const name of ["head", "verdict", "facts", "stale"]) replace(`${tile.at}-${name}`, parts[`${tile.at}-${name}`]);
  place.classList.toggle("old", tile.old);
  place.dataset.number = tile.number === null ? "" : tile.number;
  say(tile);
}

async function show(told) {
  for (const [name, html] of Object.entries(told.parts)) if (!/^\d+-/.test(name)) replace(name, html);
  await Promise.all((told.tiles || []).map((tile) => show_tile(tile, told.parts)));
  if (told.again !== undefined) {
    if (again !== null && again !== told.again) location.reload();
    again = told.again;
  }
}

// ---------------------------------------------------------------------------------------------------- polling

function old(is_old) {
  const text = one("#offline");
  body.classList.toggle("off", is_old);
  const wanted = is_old ? text.dataset.text : "";
  if (text.textContent !== wanted) text.textContent = wanted;
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden || pending) return;
  const control = new AbortController();
  pending = control;
  const limit = setTimeout(() => control.abort(), late_ms);
  try {
    const address = new URL(body.dataset.poll, location.href);
    address.searchParams.set("back", location.pathname + location.search);
    const response = await fetch(address, {
      headers: { Accept: "application/json" },
      signal: control.signal,
      cache: "no-store",
    });
    if (response.status === 401 || response.redirected) return location.reload();
    if (!response.ok) throw new Error(String(response.status));
    const told = await response.json();
    await show(told);
    answered = Date.now();
    old(false);
    body.dataset.beat = body.dataset.beat === "a" ? "b" : "a"; // starts the clock of `.guard` anew
    body.dataset.polls = Number(body.dataset.polls || 0) + 1;
  } catch {
    // It is tried again. What is shown is called old when it is.
  } finally {
    clearTimeout(limit);
    pending = null;
    if (Date.now() - answered > late_ms) old(true);
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(poll, every_ms);
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    if (pending) pending.abort();
    return;
  }
  if (Date.now() - answered > late_ms) old(true); // until the first answer
  poll();
});

// ---------------------------------------------------------------------------------------------------- heat

const sliders = Array.from(document.querySelectorAll("input.opacity"));
let opacity = "70";
try {
  opacity = localStorage.getItem("edge-ad-heat") || opacity;
} catch {
  // Storage may be forbidden: then it is not remembered.
}

function fade(value) {
  document.documentElement.style.setProperty("--heat", String(value / 100));
  for (const slider of sliders) slider.value = value;
}

if (sliders.length) fade(opacity);
for (const slider of sliders) {
  slider.addEventListener("input", () => {
    fade(slider.value);
    try {
      localStorage.setItem("edge-ad-heat", slider.value);
    } catch {
      // As above.
    }
  });
}

// ---------------------------------------------------------------------------------------------------- keys

function typing(target) {
  return target.closest("input, select, textarea, [contenteditable]") !== null;
}

async function label(card, value) {
  const content = new URLSearchParams({ csrf: body.dataset.csrf, label: value });
  const say_it = one("#say");
  try {
    const response = await fetch(card.dataset.label, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRF-Token": body.dataset.csrf },
      body: content,
    });
    if (!response.ok) throw new Error(String(response.status));
    const told = await response.json();
    const badge = one(".badge", card);
    badge.className = `badge ${told.label || "unlabelled"}`;
    badge.textContent = told.text;
    say_it.textContent = one(".gallery").dataset.saved.replace("%s", told.text);
  } catch {
    say_it.textContent = body.dataset.failed;
    one("#offline").textContent = body.dataset.failed; // until the next answer
  }
}

const labels = { 1: "good", 2: "defect", 3: "unsure", 4: "" };

function step(card, key) {
  // Arrows move between the cards of the gallery, as they stand on the screen.
  const cards = Array.from(document.querySelectorAll(".card a"));
  const at = cards.indexOf(card);
  const across = cards.filter((each) => each.offsetTop === cards[0].offsetTop).length || 1;
  const far = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[key];
  const next = cards[at + far];
  if (next) next.focus();
  return Boolean(next);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
  const card = event.target.closest(".card a");
  if (card) {
    if (event.key in labels && body.dataset.csrf) {
      event.preventDefault();
      label(card, labels[event.key]);
    } else if (event.key.startsWith("Arrow") && step(card, event.key)) {
      event.preventDefault();
    }
    return;
  }
  const button = one(`.labels button[data-key="${CSS.escape(event.key)}"]:not(:disabled)`);
  if (button && !event.repeat) return button.click();
  const leads = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = leads && body.classList.contains("story") && one(`a[rel="${leads}"]`);
  if (link) link.click();
});

document.addEventListener("keydown", (event) => {
  const menu = one("details.menu[open]");
  if (event.key !== "Escape" || !menu) return;
  menu.open = false;
  one("summary", menu).focus();
});

document.addEventListener("click", (event) => {
  const menu = one("details.menu[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // a page from the browser's memory is old
});

if (body.dataset.poll) poll();
