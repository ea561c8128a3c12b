// The four views: overview, why, compare, episodes.

const PAGE_SIZE = 100, FIRST_PAIRS = 20;
const state = { tab: "overview", by: "stage", protocol: null, task: null, pair: [0, 1], filters: {}, order: null, down: false, page: 0 };

// --- header ---------------------------------------------------------------------------------------------------

function renderHeader() {
  const planned = sum(overview.runs, "planned"), completed = sum(overview.runs, "completed"), lost = sum(overview.runs, "lost");
  const running = overview.runs.filter((run) => run.state === "running");
  const remaining = Math.max(0, ...running.map((run) => run.remaining || 0));
  const share = (count) => `${(100 * count) / Math.max(1, planned)}%`;
  const warnings = overview.runs.flatMap((run) => run.not_for_reporting);
  document.title = `${running.length ? `${Math.floor((100 * completed) / Math.max(1, planned))}% ` : ""}simrun: ${overview.title}`;
  document.getElementById("header").replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, overview.title), overview.runs.map((run) =>
      h("span", { class: `chip ${run.state}`, title: run.path }, overview.runs.length > 1 ? `${run.name}: ${run.state}` : run.state)),
      h("div", { class: "tools" }, h("button", { type: "button", class: "quiet", onclick: nextTheme, "aria-label": "Change between light and dark" }, "◐"),
        h("button", { type: "button", class: "quiet", onclick: showKeys, "aria-label": "Keys" }, "?"))),
    h("div", { class: "progress", role: "progressbar", "aria-label": "Episodes", "aria-valuenow": completed, "aria-valuemax": planned },
      h("i", { style: { width: share(completed) } }), h("i", { class: "lost", style: { width: share(lost) } })),
    h("div", { class: "facts" },
      h("span", {}, h("b", { id: "completed" }, completed.toLocaleString("en")), ` of ${planned.toLocaleString("en")} episodes`),
      lost ? h("span", {}, h("b", {}, String(lost)), " could not be run, and are in no rate") : null,
      running.length ? h("span", {}, h("b", {}, sum(running, "speed").toFixed(2)), " episodes/s") : null,
      remaining ? h("span", {}, h("b", {}, duration(remaining)), " to go") : null,
      h("span", { class: "wide" }, overview.runs.flatMap((run) => run.machines).filter(unique).join(", ")),
      h("span", { class: "wide" }, overview.runs.length === 1 && overview.runs[0].begun ? `${overview.runs[0].begun} to ${overview.runs[0].ended.slice(11)} UTC` : "")),
    ...warnings.map((text) => h("div", { class: "warning" }, `Not for reporting: ${text}`)));
}

const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);
const unique = (value, index, all) => all.indexOf(value) === index;

// --- overview -------------------------------------------------------------------------------------------------

function renderOverview() {
  const parts = [];
  for (const protocol of overview.protocols) {
    const cells = overview.cells.filter((cell) => cell.protocol === protocol.name);
    parts.push(resultsCard(protocol, cells));
    const steps = cells.filter((cell) => cell.step !== null && cell.value !== null);
    if (new Set(steps.map((cell) => cell.step)).size > 1) parts.push(stepsCard(protocol, steps));
    if (protocol.tasks.length > 1) parts.push(heatCard(protocol, cells));
  }
  parts.push(...(overview.deviations || []).map(deviationsCard));
  parts.push(h("div", { class: "columns" }, costCard(), timeCard()));
  if (overview.workers.length) parts.push(workersCard());
  const notes = overview.runs.flatMap((run) => run.notes).filter(unique);
  if (overview.errors.length || notes.length) {
    parts.push(card("Notes and errors", notes.map((text) => h("p", { class: "small" }, text)),
      overview.errors.map((error) => h("p", { class: "small" }, h("span", { class: "outcome lost" }, `${error.count} ×`), ` ${error.text}`))));
  }
  parts.push(card("Provenance", overview.provenance.map((part) => h("details", {}, h("summary", {}, part.name), h("pre", { tabindex: "0" }, part.text)))));
  return parts;
}

function resultsCard(protocol, cells) {
  const scale = h("div", { class: "scale" }, [0, 0.25, 0.5, 0.75, 1].map((part) =>
    h("span", {}, protocol.kind === "success" ? `${100 * part}` : short(part * protocol.largest))));
  const columns = [{ title: "candidate", class: "name" }, { head: scale, class: "bars" }, { title: protocol.heading, number: true }, { title: "95% interval", number: true },
    { title: "episodes", number: true }];
  const rows = cells.map((cell, index) => ({
    cells: [
      h("span", { class: "dotted", title: cell.checkpoint }, h("i", { class: "dot", style: { background: colour(index) } }), cell.run ? `${cell.run}: ` : "", labelOf(cell.checkpoint), h("span", { class: "badge" }, cell.execution)),
      intervalBar(cell, protocol.largest, index), h("b", {}, cell.text), cell.between,
      cell.n < cell.planned ? `${cell.n} of ${cell.planned}` : String(cell.n),
    ],
    keys: [nameOf(cell), null, cell.value, cell.low, cell.n],
    open: () => showEpisodes({ checkpoint: cell.checkpoint, execution: cell.execution, protocol: cell.protocol, ...(cell.run && !cell.run.includes("+") ? { run: cell.run } : {}) }),
  }));
  return card([h("h2", {}, "Results"), h("span", { class: "muted" }, protocol.name)], sortableTable(columns, rows, `Results under ${protocol.name}`));
}

function deviationsCard(found) {
  const columns = found.columns.map((column, index) => ({ title: column.title, number: !column.text, ...(index ? {} : { class: "name" }) }));
  const rows = found.rows.map((cells) => ({ cells, keys: cells }));
  return card([h("h2", {}, "Told or seen otherwise"), h("span", { class: "muted" }, found.title)],
    sortableTable(columns, rows, `Wordings and perturbations of ${found.title}`), found.notes.map((text) => h("p", { class: "muted small" }, text)));
}

function stepsCard(protocol, cells) {
  const groups = Map.groupBy ? Map.groupBy(cells, (cell) => cell.execution) : new Map([[cells[0].execution, cells]]);
  const steps = cells.map((cell) => cell.step), factor = protocol.kind === "success" ? 100 : 1;
  const series = [...groups].map(([name, group], index) => ({
    name, colour: colour(index), dots: true, band: true,
    points: [...group].sort((a, b) => a.step - b.step).map((cell) => [cell.step, factor * cell.value, factor * cell.low, factor * cell.high]),
  }));
  return card([h("h2", {}, "Over training"), h("span", { class: "muted" }, protocol.name)],
    lineChart({ x: [Math.min(...steps), Math.max(...steps)], y: [0, factor * protocol.largest], xLabel: "training step", yLabel: protocol.heading, series, label: "Score by training step" }),
    h("p", { class: "legend" }, series.map((one) => h("span", {}, h("i", { class: "dot", style: { background: one.colour } }), one.name))));
}

function heatCard(protocol, cells) {
  const shown = cells.filter((cell) => cell.n).slice(0, 40);
  const columns = [{ title: "task", class: "name" }, ...shown.map((cell) => ({ title: briefOf(cell, shown), class: "value" }))];
  const rows = protocol.tasks.map((task) => ({
    cells: [task, ...shown.map((cell) => heat(cell.tasks[task], protocol.largest))],
    keys: [task, ...shown.map((cell) => cell.tasks[task]?.value ?? null)],
    open: () => showEpisodes({ protocol: protocol.name, task }),
  }));
  return h("div", { class: "heat" }, card([h("h2", {}, "By task"), h("span", { class: "muted" }, protocol.name)], sortableTable(columns, rows, "Scores by task")));
}

function heat(estimate, largest) {
  if (!estimate || estimate.value === null) return "";
  const share = Math.round(15 + (70 * estimate.value) / largest);
  return h("span", { title: estimate.between, style: { display: "block", "border-radius": ".35rem", padding: ".12rem .3rem",
    background: `color-mix(in srgb, var(--accent) ${Math.round(share * 0.62)}%, transparent)` } }, estimate.text);
}

function costCard() {
  const cells = overview.cells.filter((cell) => cell.cost);
  const columns = [{ title: "candidate", class: "name" }, { title: "p50", number: true }, { title: "p95", number: true }, { title: "in all", number: true }, { title: "an episode", number: true }];
  const told = cells.some((cell) => cell.cost.joules !== null);
  if (told) columns.push({ title: "energy", number: true });
  const rows = cells.map((cell) => ({
    cells: [briefOf(cell, cells), duration(cell.cost.p50), duration(cell.cost.p95), duration(cell.cost.inference), duration(cell.cost.wall / cell.n),
      ...(told ? [cell.cost.joules === null ? "" : `${(cell.cost.joules / 1000).toFixed(1)} kJ`] : [])],
    keys: [briefOf(cell, cells), cell.cost.p50, cell.cost.p95, cell.cost.inference, cell.cost.wall / cell.n, ...(told ? [cell.cost.joules] : [])],
  }));
  return card("Cost", sortableTable(columns, rows, "Cost of each candidate"),
    h("p", { class: "legend" }, `Inference: the median of ${cells.some((cell) => cell.cost.of_means) ? "episodes' means (older records keep no single times)" : "single ones"}, their 95th percentile, all of it together${told ? ", and the energy that the card took meanwhile" : ""}; then the time of an episode.`));
}

function timeCard() {
  const names = ["reset", "physics", "render", "inference", "other"];
  const totals = names.map((name) => overview.cells.reduce((total, cell) => total + (cell.cost ? cell.cost.parts[name] : 0), 0));
  const all = totals.reduce((a, b) => a + b, 0) || 1;
  const palette = [4, 2, 3, 0, 7];
  return card("Where the episodes' time goes", h("div", { class: "bar", role: "img", "aria-label": names.map((name, i) => `${name} ${percent(totals[i] / all)}`).join(", ") },
    names.map((name, i) => h("i", { title: name, style: { width: percent(totals[i] / all), background: colour(palette[i]) } }))),
    h("p", { class: "legend" }, names.map((name, i) => h("span", {}, h("i", { class: "dot", style: { background: colour(palette[i]) } }), `${name} ${percent(totals[i] / all)}`))),
    h("p", { class: "muted small" }, "Other: waiting for a worker or for a batch, and bookkeeping."));
}

function workersCard() {
  const columns = [{ title: "machine" }, { title: "worker", number: true }, { title: "episodes", number: true }, { title: "lost", number: true }, { title: "last task" }, { title: "last end (UTC)", number: true }];
  return card("Workers", sortableTable(columns, overview.workers.map((worker) => ({
    cells: [worker.host, String(worker.worker), String(worker.episodes), String(worker.lost), worker.task, worker.last],
    keys: [worker.host, worker.worker, worker.episodes, worker.lost, worker.task, worker.last],
  })), "Workers"));
}

// --- why ------------------------------------------------------------------------------------------------------

function renderWhy() {
  const protocols = overview.protocols.map((protocol) => protocol.name);
  if (!protocols.includes(state.protocol)) state.protocol = protocols[0];
  const protocol = protocolOf(state.protocol);
  if (!protocol) return [card("Why", h("p", { class: "muted" }, "Nothing has been run yet."))];
  if (!protocol.tasks.includes(state.task)) state.task = hardestTask(protocol);
  const cells = overview.cells.filter((cell) => cell.protocol === protocol.name && cell.n);
  const set = (name) => (value) => { state[name] = value; render(); };
  const picks = [protocols.length > 1 ? select(protocols.map((name) => [name, name]), state.protocol, set("protocol"), "Protocol") : null,
    protocol.tasks.length > 1 ? select(protocol.tasks.map((name) => [name, name]), state.task, set("task"), "Task") : null];
  const survival = cells.map((cell, index) => {
    const stages = cell.stages[state.task] || [];
    if (!stages.length) return null;
    return h("div", {}, h("h3", { style: { "margin-bottom": ".5rem" } }, h("i", { class: "dot", style: { background: colour(index) } }), briefOf(cell, cells), h("span", { class: "badge" }, `${stages[0].n} episodes`)),
      stages.map((stage) => h("div", { class: "stage" }, h("span", {}, stage.name),
        h("div", { class: "track", title: `held at the end: ${percent(stage.held)}` }, h("i", { style: { width: percent(stage.reached), background: colour(index) } })),
        h("span", { class: "number" }, percent(stage.reached)))));
  }).filter(Boolean);
  const groupings = [["stage", "what lacked"], ["task", "stage reached"], ["instruction", "instruction"], ["perturbation", "perturbation"], ["time", "time"], ["candidate", "candidate"]];
  const groups = overview.failures[state.by] || [];
  return [
    card([h("h2", {}, "How far episodes came"), h("div", { class: "right" }, picks)],
      survival.length ? h("div", { class: "columns" }, survival) : h("p", { class: "muted" }, "These episodes have no stages: an earlier version ran them, or the benchmark reports none.")),
    card([h("h2", {}, "Failures"), h("div", { class: "right" }, segmented("Group failures by", groupings, state.by, set("by")))],
      groups.length ? h("div", { class: "groups" }, groups.map(groupCard)) : h("p", { class: "muted" }, "No episode has failed.")),
  ];
}

function hardestTask(protocol) {
  const worst = (overview.failures.task || []).find((group) => group.protocol === protocol.name);
  return worst ? worst.task : protocol.tasks[0];
}

function groupCard(group) {
  return h("article", { class: "group" }, h("div", { class: "muted small" }, group.task), h("h3", {}, group.value),
    h("div", { class: "line" }, h("span", {}, h("span", { class: "big" }, group.rate), ` ${group.count} of ${group.n} `, h("span", { class: "muted small" }, group.between)),
      h("button", { type: "button", class: "quiet", onclick: () => showEpisodes({ members: group.members }) }, "all of them ›")),
    group.films.length ? h("div", { class: "films" }, group.films.map((number, index) =>
      filmButton(number, `▶ ${index + 1}`, { onclick: () => openEpisode(number, group.films), "aria-label": `Look at failure ${index + 1} of ${group.task}: ${group.value}` }))) : null);
}

// --- compare --------------------------------------------------------------------------------------------------

let compared = 0, compareAgain = 0, compareOffered = 0;

const comparable = () => overview.cells.map((cell, index) => [cell, index]).filter(([cell]) => cell.n);

function renderCompare() {
  const cells = comparable();
  compareOffered = cells.length;
  if (cells.length < 2) return [card("Compare", h("p", { class: "muted" }, "Two candidates with episodes are needed."))];
  if (!state.pair.every((index) => overview.cells[index]?.n)) state.pair = [cells[0][1], cells[1][1]];
  const choices = cells.map(([cell, index]) => [index, overview.protocols.length > 1 ? `${nameOf(cell)}, ${cell.protocol}` : nameOf(cell)]);
  const set = (side) => (value) => { state.pair[side] = Number(value); render(); };
  return [card("Compare two candidates", h("div", { class: "picks" }, select(choices, state.pair[0], set(0), "First candidate"),
    h("button", { type: "button", onclick: () => { state.pair.reverse(); render(); }, "aria-label": "Exchange them" }, "⇄"),
    select(choices, state.pair[1], set(1), "Second candidate")), h("div", { id: "comparison", "aria-live": "polite" }, h("p", { class: "muted" }, "…")))];
}

/** Ask for the comparison of the two; beside a run again and again, but never so often that the server is busy with it. */
async function fillComparison() {
  if (!document.getElementById("comparison")) return;
  const mine = (compared += 1), asked = performance.now();
  compareAgain = Infinity;
  const found = await ask(`comparison/${state.pair[0]}/${state.pair[1]}`).catch((error) => ({ remark: error.message }));
  if (mine !== compared) return;
  compareAgain = performance.now() + Math.max(5000, 20 * (performance.now() - asked));
  const place = document.getElementById("comparison");
  if (place) quietly(() => place.replaceChildren(...comparison(found).flat()));
}

function comparison(found) {
  if (found.remark) return [h("p", { class: "muted" }, found.remark)];
  const [a, b] = state.pair.map((index) => overview.cells[index]), protocol = protocolOf(a.protocol);
  const unit = protocol.kind === "success" ? " points" : "";
  const apart = found.low > 0 || found.high < 0;
  const sign = found.value > 0 ? "+" : "";
  const parts = [h("p", { class: "verdict" }, h("b", {}, `${sign}${found.difference}${unit}`), ` ${found.between} `,
    h("span", { class: `outcome ${apart ? "success" : "lost"}` }, apart ? "told apart" : "not told apart"))];
  parts.push(h("p", { class: "muted small" }, `${found.a} against ${found.b}; p = ${found.p.toPrecision(2)} (${found.test}), `,
    found.paired ? `${found.n} episodes on the same initial states` : "different initial states"));
  if (found.counts) {
    const [both, onlyA, onlyB, neither] = found.counts;
    parts.push(h("div", { class: "matrix", role: "img", "aria-label": `both succeed ${both}, only the first ${onlyA}, only the second ${onlyB}, neither ${neither}` },
      h("span", {}), h("span", { class: "muted" }, "second succeeds"), h("span", { class: "muted" }, "second fails"),
      h("span", { class: "muted" }, "first succeeds"), h("span", { class: "n" }, String(both)), h("span", { class: "n" }, String(onlyA)),
      h("span", { class: "muted" }, "first fails"), h("span", { class: "n" }, String(onlyB)), h("span", { class: "n" }, String(neither))));
  }
  const badge = (outcome) => h("span", { class: `outcome ${outcome === "not run" ? "lost" : outcome}` }, outcome);
  const columns = [{ title: "task", class: "name" }, { title: "trial", number: true }, { title: "first" }, { title: "second" }, { title: "steps", number: true }, { title: "", class: "wide" }];
  const kept = (pair) => episodes.columns.film?.[pair.a] & episodes.columns.film?.[pair.b];
  const differ = (pair) => Number(pair.outcome_a !== pair.outcome_b);
  const rows = [...found.pairs].sort((x, y) => differ(y) - differ(x) || kept(y) - kept(x)).map((pair) => ({
    cells: [pair.task, String(pair.trial), badge(pair.outcome_a), badge(pair.outcome_b), `${pair.steps_a} / ${pair.steps_b}`,
      h("span", { class: "muted wide" }, `${["side by side", "both films", "actions of both", "films and actions of both"][kept(pair)]} ›`)],
    keys: [pair.task, pair.trial, pair.score_a, pair.score_b, pair.steps_a - pair.steps_b, null],
    open: () => openPair(pair.a, pair.b),
  }));
  if (rows.length) parts.push(h("h3", { style: { margin: "1.2rem 0 .4rem" } }, "Where do they part?"), h("p", { class: "muted small" }, "The same initial states; those with different outcomes first, and of these the ones that both filmed or recorded."), sortableTable(columns, rows, "Episodes of both", FIRST_PAIRS));
  return parts;
}

// --- episodes -------------------------------------------------------------------------------------------------

const COLUMNS = [
  { key: "run", title: "run", text: true, optional: true }, { key: "checkpoint", title: "checkpoint", text: true }, { key: "execution", title: "execution", text: true },
  { key: "policy_seed", title: "policy seed", number: true, optional: true }, { key: "protocol", title: "protocol", text: true, optional: true },
  { key: "task", title: "task", text: true }, { key: "trial", title: "trial", number: true }, { key: "outcome", title: "outcome" },
  { key: "stage", title: "last stage", text: true, optional: true }, { key: "score", graded: true, title: "score", number: true, optional: true }, { key: "steps", title: "steps", number: true },
  { key: "seconds", title: "seconds", number: true }, { key: "instruction", title: "instruction", text: true, long: true }, { key: "error", title: "error", text: true, long: true, optional: true },
  { key: "film", title: "", optional: true },
];
let shown = [];

function showEpisodes(filters) {
  state.filters = filters;
  state.page = 0;
  go("episodes");
}

let offered = 0;

function renderEpisodes() {
  offered = texts.length;
  const filter = (name, title) => {
    const values = valuesOf(name);
    if (values.length < 2 && !state.filters[name]) return null;
    return h("label", {}, title, select([["", "all"], ...values.map((value) => [value, name === "checkpoint" ? labelOf(value) : value])], state.filters[name] || "",
      (value) => { state.filters[name] = value; state.page = 0; fillEpisodes(); }, title));
  };
  const box = h("input", { type: "search", id: "search", placeholder: "instruction, task, error", value: state.filters.words || "", oninput: (event) => { state.filters.words = event.target.value; state.page = 0; fillEpisodes(); } });
  const film = h("input", { type: "checkbox", onchange: (event) => { state.filters.film = event.target.checked; state.page = 0; fillEpisodes(); } });
  film.checked = Boolean(state.filters.film);
  const outcome = h("label", {}, "Outcome", select([["", "all"], ...OUTCOMES.map((value) => [value, value])], state.filters.outcome || "", (value) => { state.filters.outcome = value; state.page = 0; fillEpisodes(); }, "Outcome"));
  return [card([h("h2", {}, "Episodes"), h("span", { class: "muted", id: "count", role: "status" })],
    h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Search", box), filter("run", "Run"), filter("checkpoint", "Checkpoint"), filter("execution", "Execution"), filter("protocol", "Protocol"), filter("task", "Task"),
      filter("stage", "Last stage"), outcome, h("label", { class: "check" }, film, "filmed or recorded"),
      h("button", { type: "button", onclick: () => { state.filters = {}; state.page = 0; render(); } }, "Clear")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Episodes" }, h("table", { id: "episodes" }, h("thead"), h("tbody"))),
    h("div", { class: "pager" }, h("button", { type: "button", id: "previous", onclick: () => turn(-1) }, "Previous"), h("span", { id: "page" }), h("button", { type: "button", id: "next", onclick: () => turn(1) }, "Next")))];
}

function matching() {
  const { columns, count } = episodes, wanted = state.filters, tests = [];
  for (const name of ["run", "checkpoint", "execution", "protocol", "task", "stage"]) {
    if (wanted[name]) { const code = textNumbers.get(wanted[name]); tests.push((i) => columns[name][i] === code); }
  }
  if (wanted.outcome) { const code = OUTCOMES.indexOf(wanted.outcome); tests.push((i) => columns.outcome[i] === code); }
  if (wanted.film) tests.push((i) => columns.film[i] > 0);
  for (const word of (wanted.words || "").toLowerCase().split(/\s+/).filter(Boolean)) {
    const codes = new Set(texts.map((text, code) => (text.toLowerCase().includes(word) ? code : -1)));
    tests.push((i) => codes.has(columns.instruction[i]) || codes.has(columns.task[i]) || codes.has(columns.error[i]) || codes.has(columns.checkpoint[i]));
  }
  const found = [];
  if (wanted.members) { for (const i of wanted.members) if (i < count && tests.every((test) => test(i))) found.push(i); return found; }
  for (let i = 0; i < count; i += 1) if (tests.every((test) => test(i))) found.push(i);
  return found;
}

function fillEpisodes() {
  const table = document.getElementById("episodes");
  if (!table) return;
  const { columns } = episodes;
  shown = matching();
  if (state.order) {
    const column = columns[state.order], text = COLUMNS.find((one) => one.key === state.order).text, sign = state.down ? -1 : 1;
    const rank = text ? new Map([...new Set(column)].sort((a, b) => collator.compare(texts[a], texts[b])).map((code, index) => [code, index])) : null;
    const value = rank ? (i) => rank.get(column[i]) : (i) => column[i];
    shown.sort((a, b) => sign * (value(a) - value(b)) || a - b);
  }
  const graded = overview.protocols.some((protocol) => protocol.kind !== "success");
  const visible = COLUMNS.filter((column) => (graded || !column.graded) && (!column.optional || (columns[column.key] && new Set(columns[column.key]).size > 1) || (column.key === "film" && columns.film?.[0])));
  table.tHead.replaceChildren(h("tr", {}, visible.map((column) => {
    const sorted = state.order === column.key ? (state.down ? "descending" : "ascending") : null;
    return h("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": sorted }, column.title ? h("button", { type: "button", onclick: () => {
      state.down = state.order === column.key && !state.down; state.order = column.key; state.page = 0; fillEpisodes(); } }, column.title) : null);
  })));
  const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
  state.page = Math.min(state.page, pages - 1);
  const part = shown.slice(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE);
  table.tBodies[0].replaceChildren(...part.map((number) => {
    const open = () => openEpisode(number, shown);
    return h("tr", { class: "link", tabindex: "0", "data-number": number, onclick: open, onkeydown: (event) => { if (event.key === "Enter") open(); } }, visible.map((column) => episodeCell(column, number)));
  }));
  let solved = 0, run = 0;
  for (const i of shown) { if (columns.outcome[i] === 1) solved += 1; if (columns.outcome[i] !== 2) run += 1; }
  const rest = episodes.count < episodes.total ? `, ${episodes.total - episodes.count} more are on their way` : "";
  document.getElementById("count").textContent = `${shown.length.toLocaleString("en")} of ${episodes.count.toLocaleString("en")}${run ? `, ${solved} of ${run} successful (${percent(solved / run)})` : ""}${rest}`;
  document.getElementById("page").textContent = `page ${state.page + 1} of ${pages}`;
  document.getElementById("previous").disabled = state.page === 0;
  document.getElementById("next").disabled = state.page + 1 >= pages;
}

function episodeCell(column, number) {
  const value = episodes.columns[column.key][number];
  if (column.key === "outcome") return h("td", {}, h("span", { class: `outcome ${value === 2 ? "lost" : OUTCOMES[value]}` }, OUTCOMES[value]));
  if (column.key === "film") return h("td", { class: "muted small" }, [value & 1 ? "film" : "", value & 2 ? "data" : ""].filter(Boolean).join(", "));
  if (column.text) {
    const text = texts[value];
    return h("td", { class: column.long ? "long" : null, title: column.key === "checkpoint" ? text : null }, column.key === "checkpoint" ? labelOf(text) : text);
  }
  return h("td", { class: column.number ? "number" : null }, column.key === "seconds" ? value.toFixed(1) : String(value));
}

function turn(by) { state.page += by; fillEpisodes(); }
