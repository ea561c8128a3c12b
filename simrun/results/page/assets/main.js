// Putting it together: tabs, keys, theme, and what a running run sends.

/** View -> its title, what draws it, and what fills in the part of it that comes later or changes often. */
const VIEWS = { overview: ["Overview", renderOverview], why: ["Why", renderWhy], compare: ["Compare", renderCompare, fillComparison], episodes: ["Episodes", renderEpisodes, fillEpisodes] };
const main = document.getElementById("main");

function go(tab) {
  state.tab = tab in VIEWS ? tab : "overview";
  if (location.hash !== `#${state.tab}`) history.replaceState(null, "", `#${state.tab}`);
  render();
  window.scrollTo({ top: 0 });
}

function render() {
  renderHeader();
  document.getElementById("tabs").replaceChildren(...Object.entries(VIEWS).map(([name, [title]], index) =>
    h("button", { type: "button", "aria-current": name === state.tab ? "page" : null, onclick: () => go(name) }, title, h("kbd", {}, String(index + 1)))));
  const [, draw, fill] = VIEWS[state.tab];
  main.replaceChildren(...draw());
  fill?.();
}

/** Draw a part of the page anew where the reader does not notice: focus and sideways scrolling stay where they were. */
function quietly(draw) {
  const places = () => [...main.querySelectorAll("button, select, input, [tabindex]")], regions = () => [...main.querySelectorAll(".scroll")];
  const focus = places().indexOf(document.activeElement), scrolled = regions().map((region) => region.scrollLeft);
  draw();
  regions().forEach((region, index) => { region.scrollLeft = scrolled[index] || 0; });
  if (focus >= 0 && !main.contains(document.activeElement)) places()[focus]?.focus({ preventScroll: true });
}

/** New numbers: whatever the reader is busy with stays as it is. */
function refresh() {
  renderHeader();
  const typing = main.contains(document.activeElement) && /^(SELECT|INPUT)$/.test(document.activeElement.tagName);
  if (state.tab === "episodes") {
    // Filters offer what occurs; a task or candidate that is new belongs into them.
    const news = texts.length !== offered && !typing;
    quietly(news ? render : fillEpisodes);
    return;
  }
  if (typing || main.querySelector("details[open], .thumb:hover") || document.getSelection()?.toString()) return;
  if (state.tab !== "compare" || comparable().length !== compareOffered) quietly(render);
  else if (performance.now() > compareAgain) fillComparison();
}

// --- theme and keys -------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = null;
try { theme = localStorage.getItem("simrun-theme"); } catch { /* a file opened from disk may have no storage */ }

function applyTheme() { document.documentElement.dataset.theme = theme || (dark.matches ? "dark" : "light"); }

function nextTheme() {
  theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("simrun-theme", theme); } catch { /* then it lasts as long as the page */ }
  applyTheme();
}

dark.addEventListener("change", applyTheme);

const keys = document.getElementById("keys");

function showKeys() {
  const rows = [["1 to 4", "views"], ["/", "search episodes"], ["j, k", "next and previous episode"], ["space", "play and pause"], ["t", "light or dark"], ["Esc", "close"]];
  keys.replaceChildren(h("div", { class: "dialoghead" }, h("h2", { id: "keys-title" }, "Keys"), h("div", { class: "right" }, h("button", { type: "button", onclick: () => keys.close() }, "Close"))),
    h("dl", { class: "pairs" }, rows.map(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])));
  keys.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "?") showKeys();
  else if (event.key === "t") nextTheme();
  else if (detail.open && (event.key === "j" || event.key === "k")) detail.step?.(event.key === "j" ? 1 : -1);
  else if (detail.open && event.key === " " && detail.toggle && !/^(BUTTON|VIDEO)$/.test(event.target.tagName)) { event.preventDefault(); detail.toggle(); }
  else if (!detail.open && /^[1-4]$/.test(event.key)) go(Object.keys(VIEWS)[Number(event.key) - 1]);
  else if (!detail.open && event.key === "/") { event.preventDefault(); go("episodes"); document.getElementById("search").focus(); }
});

window.addEventListener("hashchange", () => { const wanted = location.hash.slice(1); if (wanted in VIEWS && wanted !== state.tab) go(wanted); });

// --- start ----------------------------------------------------------------------------------------------------

applyTheme();
if (frozen) takeEpisodes(frozen.episodes);
go(location.hash.slice(1) || "overview");

if (!frozen) {
  const events = new EventSource("events");
  let due = null;
  const soon = () => { due ??= setTimeout(() => { due = null; refresh(); }, 250); };
  events.addEventListener("episodes", (event) => { takeEpisodes(JSON.parse(event.data)); soon(); });
  events.addEventListener("overview", (event) => { overview = JSON.parse(event.data); soon(); });
}
