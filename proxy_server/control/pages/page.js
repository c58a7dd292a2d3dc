for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
      said.textContent = "Copied " + source.textContent;
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      said.textContent = "Selected; press the copy keys.";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
// Where a budget will end is reckoned beside the page: the bars are asked for again until it is there.
(async () => {
  for (const wait of [800, 2000, 5000, 10000]) {
    if (!document.querySelector("#budget-bars[data-pending]")) { return; }
    await new Promise((done) => setTimeout(done, wait));
    try {
      const text = await (await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" })).text();
      const main = text.slice(text.indexOf("<main"), text.lastIndexOf("</main>"));  // without its style and script
      const fresh = new DOMParser().parseFromString(main, "text/html").getElementById("budget-bars");
      const bars = document.getElementById("budget-bars");
      if (!fresh || !bars || bars.contains(document.activeElement)) { continue; }
      if (bars.querySelector("details[open]")) { fresh.querySelector("details")?.setAttribute("open", ""); }
      bars.replaceWith(document.importNode(fresh, true));
    } catch {
      // the server is away for a moment
    }
  }
})();
