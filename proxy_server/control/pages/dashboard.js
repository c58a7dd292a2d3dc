// Opens the dashboard's session, asks for news while the page is visible, keeps the address, and comes back by itself.
(() => {
  const place = document.getElementById("dashboard");
  const base = place.dataset.base;
  const socket = location.origin.replace(/^http/, "ws") + base + "/ws";
  const WAITS = [0.3, 1, 2, 4, 8, 15];
  let current = null, tries = 0, pulses = 0, timer = 0;

  const say = (text) => {
    const state = document.getElementById("state") ?? document.getElementById("said");
    state.textContent = text;
  };
  const visible = () => document.hidden ? new Promise((go) => document.addEventListener("visibilitychange", go, { once: true })) : null;
  const find = (doc, mark) => [...doc.all_models].find((model) => model.css_classes?.includes?.(mark));

  const pulse = () => {
    if (current && !document.hidden) current.value = String(++pulses);
  };
  document.addEventListener("visibilitychange", pulse);

  async function open() {
    const answer = await fetch(base + "/session", { headers: { Accept: "application/json" } });
    if (answer.status === 401) return location.reload(); // signed out: the server leads to the way in
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error.message + " " + told.error.hint);
    const element = document.createElement("div");
    place.append(element);
    const views = await Bokeh.embed.add_document_from_session(socket, told.token, element, [], false);
    const doc = [...views][0].model.document;
    let lost = false;
    doc.on_event("connection_lost", () => { lost = true; });
    while (!find(doc, "up-pulse")) { // the dashboard follows when it is made
      if (lost) throw new Error("The connection was lost.");
      await new Promise((go) => setTimeout(go, 30));
    }
    place.replaceChildren(element);
    place.setAttribute("aria-busy", "false");
    place.classList.remove("lost");
    say("");
    tries = 0;
    current = find(doc, "up-pulse");
    const address = find(doc, "up-address");
    const keep = () => history.replaceState(null, "", address.value ? "?" + address.value : location.pathname);
    address.properties.value.change.connect(keep);
    doc.on_event("connection_lost", () => { current = null; again("The connection was lost."); });
    clearInterval(timer);
    timer = setInterval(pulse, told.every_s * 1000);
  }

  async function again(why) {
    place.classList.add("lost");
    const wait = WAITS[Math.min(tries++, WAITS.length - 1)];
    if (tries > 1) say(why + " Trying again …");
    await new Promise((go) => setTimeout(go, wait * 1000));
    await visible();
    begin();
  }

  function begin() {
    open().catch((error) => again(error instanceof TypeError ? "The proxy does not answer." : error.message));
  }
  begin();
})();
