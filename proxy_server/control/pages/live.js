// The parts of a page that follow live calls are drawn by the server: when calls have come, the page is asked for
// again, and the part is put in place of the old one. So a figure is made in one place, whoever shows it.
const part = document.querySelector("[data-live]");
const toggle = document.getElementById("live");
const root = document.body.dataset.root;
let source = null;
let poll = null;
let after = part ? part.dataset.after : "";
let asking = false;
let again = false;

async function redraw() {
  if (asking) { again = true; return; }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const text = await answer.text();
    const main = text.slice(text.indexOf("<main"), text.lastIndexOf("</main>"));  // without its style and script
    const fresh = new DOMParser().parseFromString(main, "text/html").getElementById(part.id);
    if (fresh) { replace(fresh); }
  } catch {
    // the server is away for a moment; the stream comes back by itself and the next event draws again
  }
  await new Promise((done) => setTimeout(done, 1000));
  asking = false;
  if (again) { again = false; redraw(); }
}

function replace(fresh) {
  const known = new Set([...part.querySelectorAll("[data-call]")].map((row) => row.dataset.call));
  for (const open of part.querySelectorAll("details[open]")) {
    fresh.querySelector("#" + open.id)?.setAttribute("open", "");
  }
  const scrolled = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const place = focused?.getAttribute("href") ?? null;
  for (const row of fresh.querySelectorAll("[data-call]")) {
    if (known.size && !known.has(row.dataset.call)) { row.classList.add("new"); }
  }
  part.replaceChildren(...document.importNode(fresh, true).childNodes);
  part.querySelectorAll(".scroll").forEach((box, number) => { box.scrollLeft = scrolled[number] ?? 0; });
  if (place) { part.querySelector(`a[href="${CSS.escape(place)}"]`)?.focus({ preventScroll: true }); }
  if (fresh.dataset.after) { part.dataset.after = fresh.dataset.after; }
}

function start() {
  stop();
  const path = part.dataset.live;
  const mark = after ? (path.includes("?") ? "&" : "?") + "after=" + encodeURIComponent(after) : "";
  source = new EventSource(path + mark);
  source.addEventListener("call", (event) => { after = event.lastEventId; redraw(); });
  source.addEventListener("gap", () => { redraw(); });
  source.addEventListener("end", (event) => {
    if (JSON.parse(event.data).reason === "rights") { stop(); location.reload(); }
  });
  source.addEventListener("error", () => {
    if (source && source.readyState === EventSource.CLOSED && !poll) { poll = setInterval(redraw, 15000); }
  });
}

function stop() {
  source?.close();
  source = null;
  clearInterval(poll);
  poll = null;
}

function wanted() {
  return !toggle || toggle.getAttribute("aria-pressed") === "true";
}

if (part) {
  if (wanted()) { start(); }
  document.addEventListener("visibilitychange", () => {  // a browser opens few connections to one server
    if (document.hidden) { stop(); } else if (wanted()) { redraw(); start(); }
  });
  addEventListener("pagehide", stop);
}
toggle?.addEventListener("click", () => {
  const on = !wanted();
  toggle.setAttribute("aria-pressed", String(on));
  document.getElementById("said").textContent = on ? "New calls appear as they end." : "The list stands still.";
  if (on) { redraw(); start(); } else { stop(); }
});

const form = document.getElementById("provider-key");
async function change(method, name, body) {
  const said = document.getElementById("key-said");
  said.className = "";
  said.textContent = "One moment…";
  try {
    const answer = await fetch(`${root}/api/providers/${encodeURIComponent(name)}/key`, {
      method,
      headers: { "Content-Type": "application/json", "X-CSRF-Token": document.body.dataset.csrf },
      body,
    });
    const told = await answer.json();
    if (!answer.ok) { throw new Error(`${told.error.message} ${told.error.hint ?? ""}`); }
    const now = told.in_force ? "now" : "within seconds";
    sessionStorage.setItem("key-said", method === "PUT"
      ? `The key of ${name} is saved; calls go by it ${now}.` : `The key of ${name} is removed; no call uses it from ${now} on.`);
    location.reload();
  } catch (error) {
    said.className = "note warn";
    said.textContent = error.message;
  }
}
if (form) {
  const told = sessionStorage.getItem("key-said");
  sessionStorage.removeItem("key-said");
  if (told) {
    const said = document.getElementById("key-said");
    said.textContent = told;
    said.scrollIntoView({ block: "center" });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = form.elements.key.value;
    form.elements.key.value = "";
    change("PUT", form.elements.provider.value, JSON.stringify({ key }));
  });
}
for (const button of document.querySelectorAll("[data-remove]")) {
  button.addEventListener("click", () => {
    if (confirm(`Remove the key of ${button.dataset.remove}? Calls to it are refused from then on.`)) {
      change("DELETE", button.dataset.remove);
    }
  });
}
