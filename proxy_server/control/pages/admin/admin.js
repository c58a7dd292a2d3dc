// Sends forms to the interface: fields become JSON, what is refused stands beside the field or below the form, and the
// parts of the page that show lists are drawn anew by the server. Nothing typed is lost by a refusal.
const told = document.getElementById("told");

function say(text) {
  told.textContent = text;
  if (text) { told.scrollIntoView({ block: "nearest" }); }
}

function value(field) {
  const text = field.value.trim();
  switch (field.dataset.as) {
    case "number": return text === "" ? null : Number(text);
    case "usd": return text === "" ? null : Math.round(Number(text) * 1e9);
    case "amount": {  // in the unit that the form says
      const scale = field.form.elements.unit.value === "nano_usd" ? 1e9 : 1;
      return text === "" ? null : Math.round(Number(text) * scale);
    }
    case "list": return text === "" ? null : text.split(/[,\n]/).map((one) => one.trim()).filter(Boolean);
    case "bool": return field.value === "true";
    case "as-is": return field.value;
    default: return text;
  }
}

function fieldsOf(form) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.closest("[hidden]")) { continue; }
    if (field.dataset.as === "roles") {  // a box a role, the scope beside it
      body[field.name] ??= {};
      if (field.checked) { body[field.name][field.value] = form.elements[`scope-${field.value}`].value; }
    } else if (field.dataset.as === "scope") {
      continue;
    } else if (field.dataset.as === "choices") {
      body[field.name] ??= [];
      if (field.checked) { body[field.name].push(field.value); }
    } else if (field.type === "checkbox") {
      body[field.name] = field.checked;
    } else if (field.type === "radio") {
      if (field.checked) { body[field.name] = value(field); }
    } else {
      let found = value(field);
      if (field.dataset.with && found.endsWith(":")) { found += form.elements[field.dataset.with].value.trim(); }
      if (found === null || (found === "" && !field.hasAttribute("data-empty"))) {
        if (field.hasAttribute("data-null")) { body[field.name] = null; }
      } else {
        body[field.name] = found;
      }
    }
  }
  return body;
}

function clear(form) {
  form.querySelector(".error").textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    if (field.dataset.described) {
      field.setAttribute("aria-describedby", field.dataset.described);
    } else {
      field.removeAttribute("aria-describedby");
    }
  }
  for (const note of form.querySelectorAll(".field-error")) { note.remove(); }
}

let notes = 0;
function refuse(form, error, field) {
  const text = [error.message, error.hint].filter(Boolean).join(" ");
  const named = /parameter '([\w-]+)'/.exec(error.message)?.[1];
  field ??= [...form.elements].find((one) =>
    one.name && (one.name === named || (one.dataset.codes ?? "").split(" ").includes(error.code)));
  if (!field) {
    form.querySelector(".error").textContent = text;
    return;
  }
  const note = document.createElement("span");
  note.className = "field-error";
  note.id = `error-${++notes}`;
  note.textContent = text;
  (field.closest("label") ?? field).insertAdjacentElement("afterend", note);  // in the label it would be of its name
  field.dataset.described ??= field.getAttribute("aria-describedby") ?? "";
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${note.id} ${field.dataset.described}`.trim());
  field.focus();
}

async function send(form) {
  let [method, path] = form.dataset.send.split(" ");
  const body = fieldsOf(form);
  path = path.replace(/\{([\w-]+)\}/g, (_, name) => {
    const part = encodeURIComponent(body[name] ?? "");
    delete body[name];
    return part;
  });
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": document.body.dataset.csrf };
  if (form.dataset.version) { headers["If-Match"] = `"v${form.dataset.version}"`; }
  const more = ["GET", "DELETE"].includes(method) ? {} : { body: JSON.stringify(body) };
  const answer = await fetch(document.body.dataset.root + path, { method, headers, ...more });
  const read = await answer.json();
  if (!answer.ok) { throw read.error; }
  return read;
}

async function redraw() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) { location.reload(); return; }
  const text = await answer.text();
  const main = text.slice(text.indexOf("<main"), text.lastIndexOf("</main>"));  // without its style and script
  const fresh = new DOMParser().parseFromString(main, "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const held = part.contains(document.activeElement);
    const found = fresh.getElementById(part.id);
    for (const open of part.querySelectorAll("details[open][id]")) {
      fresh.getElementById(open.id)?.setAttribute("open", "");
    }
    part.replaceChildren(...(found ? document.importNode(found, true).childNodes : []));
    if (held) { part.querySelector("h2[tabindex]")?.focus({ preventScroll: true }); }
  }
}

function show(form, read) {
  const place = document.getElementById(form.dataset.show);
  for (const one of place.querySelectorAll("[data-of]")) {
    one.textContent = (one.dataset.before ?? "") + read[one.dataset.of];
  }
  place.hidden = false;
  place.querySelector("h2").focus();
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.send) { return; }
  event.preventDefault();
  clear(form);
  const other = [...form.querySelectorAll("[data-same]")].find((one) => one.value !== form.elements[one.dataset.same].value);
  if (other) { refuse(form, { message: "The two are not the same." }, other); return; }
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) { return; }
  const buttons = [...form.querySelectorAll("button")];
  say("One moment…");
  form.setAttribute("aria-busy", "true");
  for (const one of buttons) { one.setAttribute("aria-disabled", "true"); }
  try {
    const read = await send(form);
    for (const one of form.querySelectorAll("input[type=password]")) { one.value = ""; }
    if (form.dataset.then) {
      sessionStorage.setItem("told", form.dataset.done ?? "Saved.");
      location.assign(document.body.dataset.root + form.dataset.then.replace("{id}", encodeURIComponent(read.id ?? read.user?.id ?? "")));
      return;
    }
    if (form.dataset.show) { show(form, read); }
    if (!form.closest("[data-part]")) { form.reset(); }
    await redraw();
    say(form.dataset.done ?? "Saved.");
  } catch (error) {
    say("");
    refuse(form, error.message && error.code ? error : { message: "The proxy does not answer.", hint: "Try again in a moment." });
  } finally {
    form.removeAttribute("aria-busy");
    for (const one of buttons) { one.removeAttribute("aria-disabled"); }
  }
});
function fit(select) {  // some choices need no more said; what else is said depends on the choice
  const other = select.form.elements[select.dataset.other];
  const { alone, only } = select.dataset;
  other.disabled = only ? select.value !== only : select.value === alone;
  const known = document.getElementById(`known-${select.value}`);
  if (known) { other.setAttribute("list", known.id); } else { other.removeAttribute("list"); }
}
document.addEventListener("change", (event) => { if (event.target.dataset.other) { fit(event.target); } });
document.addEventListener("reset", (event) => {
  setTimeout(() => event.target.querySelectorAll("[data-other]").forEach(fit));
});
document.querySelectorAll("[data-other]").forEach(fit);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.getAttribute("aria-disabled") === "true") { event.preventDefault(); }
});
const kept = sessionStorage.getItem("told");
sessionStorage.removeItem("told");
if (kept) { say(kept); }
